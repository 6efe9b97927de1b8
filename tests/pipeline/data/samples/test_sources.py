"""Samples of a graph, from files and from code of the user's."""

import sys
from pathlib import Path

import numpy as np
import pytest

from foundation.bundle import TensorSpec
from foundation.errors import (
    CorruptFileError,
    DataLayoutError,
    MissingFileError,
    ModelMismatchError,
    RecipeError,
    UsageError,
)
from pipeline.data import load_dataset
from pipeline.data.sample_files import divided, read_samples, write_samples
from pipeline.data.samples import names_samples, sample_source
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.data import DataRecipe
from pipeline.training.adopt_graph import check_as_graph

INPUTS = [TensorSpec("image", "float32", "", [1, 2, 2]), TensorSpec("rate", "int64", "", [])]


def arrays(count: int = 3, **changes: object) -> dict[str, np.ndarray]:
    values = {"image": np.arange(count * 4.0).reshape(count, 2, 2), "rate": np.full(count, 16)}
    return {**values, **changes}  # type: ignore[dict-item]


def saved(folder: Path, name: str = "samples.npz", **changes: object) -> Path:
    np.savez(folder / name, **arrays(**changes))  # type: ignore[arg-type]
    return folder / name


def read(place: object, most: int = 100):
    return sample_source(f"arrays:{place}").read(INPUTS, most)


def test_a_file_gives_each_input_in_its_own_type_and_shape(tmp_path: Path) -> None:
    samples = read(saved(tmp_path))
    assert samples.ids == ["samples.npz:0", "samples.npz:1", "samples.npz:2"]
    feed = samples.feed(1)
    assert (feed["image"].dtype, feed["image"].shape) == (np.float32, (1, 2, 2))
    assert feed["image"].ravel().tolist() == [4, 5, 6, 7]
    assert (feed["rate"].dtype, feed["rate"].shape, int(feed["rate"])) == (np.int64, (), 16)


def test_a_first_size_of_one_may_be_there_or_not(tmp_path: Path) -> None:
    without, with_it = (read(saved(tmp_path)), None)
    with_it = read(saved(tmp_path, image=arrays()["image"][:, None]))
    assert np.array_equal(without.arrays["image"], with_it.arrays["image"])


def test_a_folder_gives_its_files_in_order_and_no_more_than_asked(tmp_path: Path) -> None:
    """Those are from all of it: files and rows are often in an order that means something."""
    for name in ("b.npz", "a.npz", "c.npz"):
        saved(tmp_path, name)
    assert read(tmp_path, most=9).ids == [f"{name}.npz:{row}" for name in "abc" for row in range(3)]
    few = read(tmp_path, most=4)
    assert few.ids == ["a.npz:0", "a.npz:2", "b.npz:1", "c.npz:0"]
    assert few.arrays["image"][:, 0, 0, 0].tolist() == [0, 8, 4, 0]
    assert read(tmp_path, most=1).ids == ["a.npz:0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image": np.zeros((3, 2, 3))},
            r"'image' is \[3, 2, 3\], but the graph takes \[1, 2, 2\]",
        ),
        ({"rate": np.full(3, 16.5)}, "with numbers that the graph's int64 does not hold"),
        ({"rate": np.full(2, 16)}, "different or no samples"),
        ({"image": np.full((3, 2, 2), np.nan)}, "infinite or undefined"),
        ({"image": np.full((3, 2, 2), 1e300)}, "too large for float32"),
        ({"more": np.zeros(3)}, "has arrays image, more, rate, but the graph takes image, rate"),
    ],
)
def test_arrays_that_do_not_fit_are_told_in_a_line(tmp_path: Path, changes, message) -> None:
    with pytest.raises(DataLayoutError, match=message):
        read(saved(tmp_path, **changes))


def test_what_is_no_file_of_arrays_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read(tmp_path / "none.npz")
    with pytest.raises(MissingFileError, match=r"holds no \.npz file"):
        read(tmp_path)
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(CorruptFileError, match="file of arrays"):
        read(tmp_path / "torn.npz")
    np.save(tmp_path / "alone.npy", np.zeros((3, 2, 2)))
    (tmp_path / "alone.npy").rename(tmp_path / "alone.npz")
    with pytest.raises(CorruptFileError, match="file of arrays"):
        read(tmp_path / "alone.npz")
    np.savez(tmp_path / "pickled.npz", image=np.array([{}, {}]), rate=np.zeros(2))
    with pytest.raises(CorruptFileError, match="file of arrays"):
        read(tmp_path / "pickled.npz")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of the user's, which loaders are in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(name: str, body: str) -> None:
        lines = "\n    ".join(body.splitlines())
        (tmp_path / f"{name}.py").write_text(
            f"import numpy as np\ndef samples():\n    {lines}\n", encoding="utf-8"
        )

    return write


def test_a_loader_gives_samples_one_by_one_with_ids_of_its_own(mine) -> None:
    mine("loads_two", "for n in range(9): yield f's{n}', dict(image=np.ones((2, 2)), rate=n)")
    samples = sample_source("loader:loads_two:samples").read(INPUTS, 2)
    assert samples.ids == ["s0", "s1"]
    assert samples.arrays["rate"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("yield 3", "failed: TypeError: sample 0 is int, not a dict"),
        ("raise OSError('no disk')\nyield", "failed: OSError: no disk"),
        ("yield dict(image=np.ones((2, 2)))", "sample 0: has arrays image, but the graph takes"),
        ("yield dict(image=np.ones((2, 3)), rate=1)", r"'image' is \[2, 3\]"),
        ("yield from ()", "gave no sample"),
    ],
)
def test_a_loader_that_gives_something_else_is_told(mine, body: str, message: str) -> None:
    name = f"loads_wrongly_{abs(hash(body))}"
    mine(name, body)
    with pytest.raises(DataLayoutError, match=message):
        sample_source(f"loader:{name}:samples").read(INPUTS, 2)


def test_a_loader_that_is_not_there_is_told_before_any_work(mine) -> None:
    with pytest.raises(ModelMismatchError, match=r"data\.name: loader 'nowhere:samples'"):
        sample_source("loader:nowhere:samples").check("data.name")
    with pytest.raises(UsageError, match="names no function"):
        sample_source("loader:nowhere").check("data.name")


def test_nothing_learns_from_samples() -> None:
    assert names_samples("arrays:x.npz")
    assert not names_samples("folder:x")
    for name in ("arrays:x.npz", "loader:mine:samples"):
        with pytest.raises(UsageError, match="distillation is for classifiers"):
            load_dataset(DataRecipe(name=name))


def test_what_is_calibrated_on_is_not_judged_by() -> None:
    parts = divided(100, 0, calibration=256, evaluation=10_000)
    assert len(parts.probe) == 16
    assert not set(parts.calibration) & set(parts.evaluation)
    assert set(parts.probe) <= set(parts.evaluation)
    assert len(parts.calibration) + len(parts.evaluation) == 100
    assert divided(100, 0, calibration=256, evaluation=None).evaluation == []
    assert divided(100, 1, calibration=256, evaluation=10_000) != parts


def test_of_a_single_sample_there_is_no_choice() -> None:
    parts = divided(1, 0, calibration=256, evaluation=None)
    assert parts.calibration == parts.probe == [0]
    assert parts.remark


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    samples = read(saved(tmp_path))
    again = read_samples(write_samples(tmp_path / "kept.npz", samples))
    assert again.ids == samples.ids
    assert all(np.array_equal(again.arrays[name], samples.arrays[name]) for name in again.arrays)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"metric": "macro_f1"}, "judges classifiers"), ({"student.prune": 0.5}, "leave it out")],
)
def test_what_a_graph_has_none_of_is_refused(changes, words: str) -> None:
    asked = {"student.model": "x.onnx", "data.name": "arrays:x.npz", **changes}
    with pytest.raises(RecipeError, match=words):
        check_as_graph(load_recipe(None, asked))
