from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foundation.errors import RecipeError, RunMismatchError
from pipeline.data import load_dataset
from pipeline.data.facts import read_facts, read_images
from pipeline.data.fingerprint import SEEN
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.prepare import TrainingData, prepare
from smskd.engine import Engine


def prepared(folder: Path, **settings: object) -> tuple[RunFolder, TrainingData]:
    overrides = {f"data.{key}": value for key, value in {"image_size": 8, **settings}.items()}
    file = load_recipe(None, overrides)
    run, data = start_run(folder, file.recipe), TrainingData(file)
    prepare(run, data)
    return run, data


def rows(pixels: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in pixels}


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> tuple[RunFolder, TrainingData]:
    folder = tmp_path_factory.mktemp("prepare") / "x"
    return prepared(folder, student_fraction=0.25, calibration_images=50, evaluation_images=100)


@pytest.mark.parametrize(
    ("name", "part", "count"),
    [("calibration", "train", 50), ("probe", "validation", 32), ("test", "test", 100)],
)
def test_each_use_gets_images_of_its_own_part(digits, name: str, part: str, count: int) -> None:
    run, data = digits
    kept = read_images(run.data / f"{name}.npz")
    source = getattr(data.splits, part)
    every = source.read(np.arange(len(source.labels)))
    label_of = {image.tobytes(): label for image, label in zip(every, source.labels, strict=True)}
    assert len(kept.labels) == count
    assert [label_of[image.tobytes()] for image in kept.pixels] == kept.labels.tolist()


def test_the_test_images_hold_every_class(digits) -> None:
    assert set(read_images(digits[0].data / "test.npz").labels.tolist()) == set(range(10))


def test_the_facts_are_those_of_the_splits(digits) -> None:
    run, data = digits
    facts = read_facts(run.data)
    assert facts.name == "digits"
    assert facts.classes == data.splits.classes
    assert facts.preprocessing == data.splits.preprocessing
    assert facts.counts == {"train": 1293, "student_train": 324, "validation": 144, "test": 360}


def test_images_that_were_passed_over_are_in_the_facts(tmp_path: Path, photos: Path) -> None:
    (photos / "train/dark/bad.jpg").write_text("no image")
    settings = {"name": f"folder:{photos}", "on_bad_image": "skip", "val_fraction": 0.2}
    run, _ = prepared(tmp_path / "x", **settings)
    assert read_facts(run.data).skipped == ["train/dark/bad.jpg"]
    assert read_facts(run.data).name == "folder:photos"


def test_what_was_decided_and_left_out_is_kept_with_the_run(tmp_path: Path, photos: Path) -> None:
    (photos / "train/.ipynb_checkpoints").mkdir()
    settings = {"name": f"folder:{photos}", "val_fraction": 0.2, "image_size": None}
    run, data = prepared(tmp_path / "x", **settings)
    remarks = run.remarks()["data"]
    assert [line for line in data.remarks if line not in remarks] == []
    for words in ("2 classes, named by", "1 hidden or system folder", "taken at 16×16"):
        assert sum(words in line for line in remarks) == 1


def test_what_was_prepared_is_not_loaded_again(digits) -> None:
    run, data = digits
    again = TrainingData(data.file)
    prepare(run, again)
    assert "_loaded" not in vars(again)


class TestChangedData:
    """What lies in the dataset's folder when the same command is run again."""

    @pytest.fixture
    def again(self, tmp_path: Path, photos: Path):
        """Prepares the photos in tmp_path/x, as the same command does each time."""

        def run(where: Path = photos) -> RunFolder:
            return prepared(tmp_path / "x", name=f"folder:{where}", val_fraction=0.2)[0]

        return run

    def test_is_refused_by_name_once_something_has_learned(self, again, photos: Path) -> None:
        run = again()
        run.teacher.mkdir()
        before = {path.name: path.read_bytes() for path in run.data.iterdir()}
        (photos / "train/dark/00.png").write_bytes((photos / "train/light/00.png").read_bytes())
        (photos / "test/light/03.png").unlink()
        words = (
            "x: the data changed since it was learned from: 1 file changed, 1 gone: "
            "train/dark/00.png, test/light/03.png; choose another folder with --run"
        )
        for _ in range(2):
            with pytest.raises(RunMismatchError, match=words):
                again()
        assert before == {path.name: path.read_bytes() for path in run.data.iterdir()}

    def test_is_read_anew_while_nothing_has_learned(self, again, photos: Path) -> None:
        first = read_facts(again().data)
        (photos / "train/dark/99.png").write_bytes((photos / "train/dark/00.png").read_bytes())
        run = again()
        facts = read_facts(run.data)
        assert sum(facts.counts.values()) > sum(first.counts.values())
        assert facts.fingerprint != first.fingerprint
        remark = "the data changed and is read anew: 1 file new: train/dark/99.png"
        assert run.remarks()["data"][0] == remark

    def test_is_an_order_of_classes_too(self, tmp_path: Path, photos: Path) -> None:
        order = tmp_path / "names.txt"
        settings = {"name": f"folder:{photos}", "val_fraction": 0.2, "classes": str(order)}
        order.write_text("light\ndark\n")
        first = read_facts(prepared(tmp_path / "x", **settings)[0].data)
        order.write_text("dark\nlight\n")
        run, _ = prepared(tmp_path / "x", **settings)
        assert (first.classes, read_facts(run.data).classes) == (
            ["light", "dark"],
            ["dark", "light"],
        )
        assert "names.txt are others, or in another order" in run.remarks()["data"][0]
        run.teacher.mkdir()
        prepared(tmp_path / "x", **settings)
        order.write_text("light\ndark\n")
        with pytest.raises(
            RunMismatchError, match=r"learned from: the classes in .*names\.txt are"
        ):
            prepared(tmp_path / "x", **settings)

    def test_that_was_only_touched_is_the_same(self, again, photos: Path) -> None:
        run = again()
        run.teacher.mkdir()
        finished = run.record()["steps"]["data"]
        for path in photos.rglob("*.png"):
            path.touch()
        assert again().record()["steps"]["data"] == finished

    def test_that_moved_is_the_same(self, again, photos: Path, tmp_path: Path) -> None:
        run = again()
        run.teacher.mkdir()
        moved = photos.rename(tmp_path / "elsewhere")
        again(moved)
        assert run.recipe().data.name == f"folder:{moved}"
        (moved / "train/dark/00.png").rename(moved / "train/light/77.png")
        other = moved.rename(tmp_path / "again")
        with pytest.raises(RunMismatchError, match=r"data.name is 'folder:.*elsewhere' there"):
            again(other)

    def test_that_is_gone_stops_nothing_that_needs_none(self, again, photos: Path) -> None:
        run = again()
        run.teacher.mkdir()
        finished = run.record()["steps"]["data"]
        photos.rename(photos.with_name("away"))
        assert again().record()["steps"]["data"] == finished

    def test_is_noticed_without_the_list_of_what_was_there(self, again, photos: Path) -> None:
        run = again()
        run.teacher.mkdir()
        (run.data / SEEN).unlink()
        again()
        (run.data / SEEN).unlink()
        (photos / "train/dark/00.png").unlink()
        with pytest.raises(RunMismatchError, match=r"which files, cannot be told, for files\.npz"):
            again()

    def test_is_noticed_while_it_is_read(
        self, again, photos: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def while_somebody_deletes(*arguments: object) -> object:
            dataset = load_dataset(*arguments)
            (photos / "train/dark/00.png").unlink()
            return dataset

        monkeypatch.setattr("pipeline.training.prepare.load_dataset", while_somebody_deletes)
        with pytest.raises(RunMismatchError, match=r"changed while it was in use \(1 file gone: "):
            again()

    def test_is_noticed_after_training_on_images_that_are_read_each_time(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, data = prepared(tmp_path / "x", name=f"folder:{photos}", val_fraction=0.2)
        (photos / "train/dark/00.png").unlink()
        data.check_unchanged()  # they lie in memory
        monkeypatch.setattr("pipeline.data.decoding._IN_MEMORY_BYTES", 0)
        _, data = prepared(tmp_path / "y", name=f"folder:{photos}", val_fraction=0.2)
        data.check_unchanged()
        (photos / "train/dark/01.png").unlink()
        with pytest.raises(RunMismatchError, match=r"1 file gone: train/dark/01\.png"):
            data.check_unchanged()


def test_a_teacher_that_sees_another_size_gets_images_of_its_own(tmp_path: Path) -> None:
    run, data = prepared(tmp_path / "x", teacher_image_size=16, evaluation_images=20)
    facts = read_facts(run.data)
    assert (facts.preprocessing.height, facts.teacher_preprocessing.height) == (8, 16)
    for name in ("calibration.npz", "probe.npz", "test.npz"):
        student, teacher = (
            read_images(run.data / facts.images_for(role, name)) for role in ("student", "teacher")
        )
        assert student.pixels.shape[1:] == (8, 8, 1)
        assert teacher.pixels.shape == (len(student.labels), 16, 16, 1)
        np.testing.assert_array_equal(student.labels, teacher.labels)
    batch = next(iter(data.batches(data.splits.student_train, 0)))
    assert batch.images.shape[2:] == (8, 8)
    assert batch.teacher_images.shape[2:] == (16, 16)
    alone = next(iter(data.batches(data.splits.train, 0, "teacher")))
    assert alone.images.shape[2:] == (16, 16)
    assert alone.teacher_images is None
    for role, size in (("student", 8), ("teacher", 16)):
        images, _ = next(iter(data.evaluation(data.splits.test, role)))
        assert images.shape[2:] == (size, size)


def test_a_teacher_of_the_same_size_gets_no_files_of_its_own(digits) -> None:
    run, data = digits
    assert not list(run.data.glob("teacher-*"))
    assert next(iter(data.batches(data.splits.student_train, 0))).teacher_images is None


def test_fixed_views_are_for_the_student_and_those_of_the_split_seed() -> None:
    file = load_recipe(None, {"data.image_size": 8, "data.teacher_views": 3, "data.split_seed": 7})
    data = TrainingData(file)
    batches = data.batches(data.splits.student_train, 5)
    assert (batches.views, batches.view_seed, batches.seed) == (3, 7, 5)
    assert data.batches(data.splits.train, 5, "teacher").views is None


def test_several_processes_share_the_batches() -> None:
    data = TrainingData(load_recipe(None, {"data.image_size": 8, "data.batch_size": 64}))
    (first, second) = (
        next(iter(data.batches(data.splits.train, 0, share=(rank, 2)))) for rank in (0, 1)
    )
    assert not set(first.ids.tolist()) & set(second.ids.tolist())


def test_mixed_labels_know_every_class(tmp_path: Path) -> None:
    data = TrainingData(load_recipe(None, {"data.image_size": 8, "data.augment.mix": "mixup"}))
    assert next(iter(data.batches(data.splits.train, 0))).labels.shape[1] == 10


@pytest.mark.parametrize("takes_pinned", [True, False])
def test_batches_are_pinned_where_the_engine_takes_them(
    photos: Path, monkeypatch: pytest.MonkeyPatch, takes_pinned: bool
) -> None:
    monkeypatch.setattr(Engine, "takes_pinned", takes_pinned)
    data = TrainingData(load_recipe(None, {"data.name": f"folder:{photos}"}))
    assert data.batches(data.splits.train, 0).pin is takes_pinned


def test_mixing_and_fixed_views_are_refused_in_the_recipe() -> None:
    overrides = {"data.teacher_views": 2, "data.augment.mix": "cutmix"}
    with pytest.raises(RecipeError, match=r"data: teacher_views = 2 and augment.mix = \"cutmix\""):
        load_recipe(None, overrides)


@pytest.mark.parametrize(
    ("key", "value"),
    [("policy", 3), ("magnitude", 31), ("magnitude", -1), ("operations", 0),
     ("mix", "both"), ("mix_alpha", 0.0), ("crop_min_area", 0.0), ("crop_min_area", 1.5),
     ("magnitude", "9")],
)  # fmt: skip
def test_an_impossible_augmentation_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"data.augment.{key}"):
        load_recipe(None, {f"data.augment.{key}": value})


PREPARE = """
import sys
from pathlib import Path
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder
from pipeline.training.prepare import TrainingData, prepare
prepare(RunFolder(Path("x")), TrainingData(load_recipe(Path("x.toml"))))
print("torch" in sys.modules)
"""


def test_a_library_is_asked_once_how_images_are_prepared(
    photos: Path, python, tmp_path: Path
) -> None:
    recipe = tmp_path / "x.toml"
    student = '[student]\nmodel = "torchvision/resnet18"\nweights = "torchvision:IMAGENET1K_V1"\n'
    recipe.write_text(f'[data]\nname = "folder:{photos}"\n{student}')
    run = start_run(tmp_path / "x", load_recipe(recipe).recipe)
    said = [python(PREPARE, cwd=tmp_path).out.strip() for _ in range(2)]
    assert said == ["True", "False"]
    known = run.record()["preparations"]["known"]
    assert known["preprocessing"]["resize_to"] == [256, 256]
    recipe.write_text(recipe.read_text().replace("[student]", "image_size = 128\n[student]"))
    assert python(PREPARE, cwd=tmp_path).out.strip() == "True"
    assert run.record()["preparations"]["known"]["image_size"] == 128
