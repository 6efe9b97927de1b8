"""What the teacher said, kept on disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, RunMismatchError, TrainingError
from smskd import Batch, Engine, Listener, Stage, TeacherViews, distill, keep_teacher_views
from smskd.distillation import pair_on
from smskd.features.signals import Signals
from smskd.pair import Pair
from smskd.teaching.teachers import ask_live
from smskd.training.stage_files import METRICS

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
VIEWS, SAMPLES = 3, 20
PLENTY = 10**9


class Views:
    """Twenty images, each in three views: as it is, mirrored, and with its sign turned."""

    samples = SAMPLES

    def __init__(self, data: Any) -> None:
        self.images, self.labels = data.images[:SAMPLES], data.labels[:SAMPLES]
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Batch]:
        return self.of(self.epoch % VIEWS, torch.Generator().manual_seed(self.epoch))

    def of(self, view: int, order: torch.Generator | None = None) -> Iterator[Batch]:
        seen = [self.images, self.images.flip(3), -self.images][view]
        ids = torch.randperm(SAMPLES, generator=order) if order else torch.arange(SAMPLES)
        for rows in ids.split(8):
            yield Batch(seen[rows], self.labels[rows], rows, view)


class Counting(nn.Module):
    """A network that counts the batches that it is shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.passes = inner, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += len(images) > 2  # two are shown to find the taps
        return self.inner(images)


class Told(Listener):
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.told.append((name, epochs, done))

    def views_started(self, views: int, done: int) -> None:
        self.told.append(("views", views, done))

    def view_done(self) -> None:
        self.told.append(("done",))


@pytest.fixture
def views(data: Any) -> Views:
    return Views(data)


@pytest.fixture
def asked(teacher: nn.Module) -> Counting:
    return Counting(teacher.eval())


@pytest.fixture
def pair(asked: Counting, net: Net, views: Views) -> Pair:
    return pair_on(asked, net(), views)


@pytest.fixture
def ask(pair: Pair) -> Callable[[Batch], Signals]:
    return lambda batch: ask_live(pair.teacher, batch.seen_by_teacher, nullcontext)


@pytest.fixture
def keep(pair: Pair, ask: Any, views: Views, tmp_path: Path) -> Callable[..., TeacherViews]:
    """Keeps what the teacher says in a folder; settings can be changed."""

    def run(**settings: Any) -> TeacherViews:
        settings = {
            "ask": ask,
            "batches_of": views.of,
            "samples": SAMPLES,
            "views": VIEWS,
            "shapes": pair.teacher_shapes,
            "made_from": {"teacher": "abc", "taps": pair.teacher.taps},
            "feature_limit": PLENTY,
            **settings,
        }
        return keep_teacher_views(tmp_path / "views", **settings)

    return run


def test_what_is_read_is_what_the_teacher_said_live(keep: Any, ask: Any, views: Views) -> None:
    kept = keep()
    assert (kept.views, kept.samples, kept.has_features) == (VIEWS, SAMPLES, True)
    for view in range(VIEWS):
        for batch in views.of(view, torch.Generator().manual_seed(view)):
            found, expected = kept.read(batch), ask(batch)
            assert found.logits.dtype == torch.float32
            assert torch.allclose(found.logits, expected.logits, rtol=0, atol=1e-6)
            assert torch.allclose(found.embedding.float(), expected.embedding, atol=2e-3)
            for ours, theirs in zip(found.features, expected.features, strict=True):
                assert ours.dtype == torch.float16
                assert torch.allclose(ours.float(), theirs, rtol=1e-3, atol=2e-3)


def test_a_kept_batch_does_not_depend_on_the_others_in_it(keep: Any, views: Views) -> None:
    kept, ids = keep(), torch.tensor([13, 2, 13])
    found = kept.read(Batch(views.images[ids], views.labels[ids], ids, view=1))
    single = [kept.read(Batch(views.images[:1], views.labels[:1], one.view(1), 1)) for one in ids]
    assert torch.equal(found.logits, torch.cat([one.logits for one in single]))
    assert not torch.equal(found.logits[0], found.logits[1])


def test_kept_again_nothing_is_asked_and_nothing_is_written(
    keep: Any, asked: Counting, tmp_path: Path
) -> None:
    told = Told()
    keep(listener=told)
    assert told.told == [("views", 3, 0), ("done",), ("done",), ("done",)]
    assert asked.passes == 9
    arrays = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    keep(listener=told)
    assert asked.passes == 9
    assert len(told.told) == 4
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == arrays
    assert len(arrays) == 3 * 4


class StoppedError(Exception):
    """The power is gone."""


def test_stopped_in_the_middle_of_a_view_it_goes_on_with_the_missing_ones(
    keep: Any, ask: Any, asked: Counting, views: Views, tmp_path: Path
) -> None:
    def fails(batch: Batch) -> Signals:
        if batch.view == 1 and 9 in batch.ids:
            raise StoppedError
        return ask(batch)

    with pytest.raises(StoppedError):
        keep(ask=fails)
    done = tmp_path / "views" / "view-0000" / "logits.npy"
    written = done.stat().st_mtime_ns
    assert not (tmp_path / "views" / "view-0001").exists()
    asked.passes, told = 0, Told()
    kept = keep(listener=told)
    assert asked.passes == 6
    assert told.told == [("views", 3, 1), ("done",), ("done",)]
    assert done.stat().st_mtime_ns == written
    assert not list((tmp_path / "views").glob("*.tmp"))
    for view in range(VIEWS):
        for batch in views.of(view):
            assert torch.allclose(kept.read(batch).logits, ask(batch).logits, rtol=0, atol=1e-6)


def test_a_batch_that_shows_half_of_the_samples_is_not_taken_for_all(
    keep: Any, views: Views, tmp_path: Path
) -> None:
    def twice(view: int) -> Iterator[Batch]:
        """As many images as there are samples."""
        for batch in views.of(view):
            yield batch._replace(ids=batch.ids // 2)

    with pytest.raises(TrainingError, match="10 of 20 samples were shown to the teacher"):
        keep(batches_of=twice)
    assert not (tmp_path / "views" / "view-0000").exists()


def test_batches_to_keep_must_tell_their_samples(keep: Any, views: Views) -> None:
    def anonymous(view: int) -> Iterator[Batch]:
        return (batch._replace(ids=None) for batch in views.of(view))

    with pytest.raises(TrainingError, match=r"need batches with ids: \(images, labels, ids\)$"):
        keep(batches_of=anonymous)


def test_samples_that_are_not_there_are_told_in_one_line(keep: Any, views: Views) -> None:
    kept = keep()
    for wrong in (torch.tensor([0, 20]), torch.tensor([-1, 3])):
        batch = Batch(views.images[:2], views.labels[:2], wrong, view=0)
        with pytest.raises(TrainingError, match=r"are of 20 samples, .* has ids from") as caught:
            kept.read(batch)
        assert "\n" not in str(caught.value)


def test_more_samples_than_were_told_are_found_out(keep: Any) -> None:
    with pytest.raises(TrainingError, match=r"are of 10 samples, .* has ids from 8 to 15"):
        keep(samples=10)


@pytest.mark.parametrize("change", [{"ids": None}, {"view": None}, {"view": 3}, {"view": -1}])
def test_a_batch_that_does_not_say_what_it_shows_is_told_in_one_line(
    keep: Any, views: Views, change: dict[str, Any]
) -> None:
    batch = next(views.of(0))._replace(**change)
    with pytest.raises(TrainingError, match=r"batch(es)? .*(with ids|has view)") as caught:
        keep().read(batch)
    assert "\n" not in str(caught.value)


def test_what_another_teacher_said_is_refused(keep: Any, tmp_path: Path) -> None:
    keep()
    for changed in ({"made_from": {"teacher": "abd"}}, {"views": 2}, {"feature_limit": 0}):
        with pytest.raises(RunMismatchError, match=r"views: holds what another teacher said"):
            keep(**changed)


def test_features_that_take_too_much_room_are_left_out(
    keep: Any, ask: Any, views: Views, tmp_path: Path
) -> None:
    """Two features of 6×8×8 and 12×4×4 numbers, of two bytes each."""
    room = (6 * 8 * 8 + 12 * 4 * 4) * 2 * SAMPLES * VIEWS
    kept = keep(feature_limit=room - 1)
    assert not kept.has_features
    assert {path.name for path in tmp_path.rglob("*.npy")} == {"logits.npy", "embedding.npy"}
    batch = next(views.of(1))
    assert kept.read(batch).features == ()
    assert torch.allclose(kept.read(batch).logits, ask(batch).logits, rtol=0, atol=1e-6)


def test_features_that_just_have_room_are_kept(keep: Any) -> None:
    room = (6 * 8 * 8 + 12 * 4 * 4) * 2 * SAMPLES * VIEWS
    assert keep(feature_limit=room).has_features


def test_what_is_too_large_for_half_a_word_is_as_large_as_one_can_be(
    keep: Any, ask: Any, views: Views
) -> None:
    def loud(batch: Batch) -> Signals:
        return ask(batch).map(lambda tensor: tensor * 1e9)

    kept, batch = keep(ask=loud), next(views.of(0))
    said, expected = kept.read(batch), loud(batch)
    assert torch.equal(said.logits, expected.logits)
    for found, live in zip(said.features, expected.features, strict=True):
        assert found.isfinite().all()
        assert torch.equal(found.float(), live.clamp(-65504, 65504).half().float())
        assert found.abs().max() == 65504
        assert found.min() == -65504


def test_a_network_without_embedding_is_kept_without(data: Any, net: Net, tmp_path: Path) -> None:
    views = Views(data)
    teacher = nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten())
    pair = pair_on(teacher, net(), views, ([], []))
    kept = keep_teacher_views(
        tmp_path,
        lambda batch: ask_live(pair.teacher, batch.images, nullcontext),
        views.of,
        samples=SAMPLES,
        views=1,
        shapes=pair.teacher_shapes,
        made_from={},
        feature_limit=PLENTY,
    )
    assert kept.read(next(views.of(0))).embedding is None


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "deleted":
        path.unlink()
    else:
        shorter = {"empty": b"", "cut": content[:-50], "cut in the header": content[:20]}
        path.write_bytes(shorter.get(how, b"PK\3\4 no array" + content[20:]))


@pytest.mark.parametrize("how", ["deleted", "empty", "cut", "cut in the header", "other content"])
@pytest.mark.parametrize("name", ["logits", "embedding", "feature-1"])
def test_a_damaged_file_is_told_in_one_line(keep: Any, views: Views, name: str, how: str) -> None:
    kept = keep()
    damage(kept.folder / "view-0002" / f"{name}.npy", how)
    expected = r"view-0002: not the teacher's views .*; delete the folder to ask it anew$"
    with pytest.raises(CorruptFileError, match=expected) as caught:
        TeacherViews(kept.folder).read(next(views.of(0)))
    assert "\n" not in str(caught.value)


def test_an_array_of_fewer_samples_is_told_in_one_line(keep: Any, views: Views) -> None:
    kept = keep()
    np.save(kept.folder / "view-0001" / "logits.npy", np.zeros((7, 3), np.float32))
    with pytest.raises(CorruptFileError, match=r"logits\.npy has 7 of 20 samples"):
        TeacherViews(kept.folder).read(next(views.of(1)))


@pytest.mark.parametrize("facts", ["[]", "{}", '{"views": 1, "samples": "many"}', "no JSON"])
def test_facts_that_cannot_be_understood_are_told_in_one_line(
    keep: Any, tmp_path: Path, facts: str
) -> None:
    keep()
    (tmp_path / "views" / "facts.json").write_text(facts)
    with pytest.raises(CorruptFileError, match=r"facts\.json: not .*delete") as caught:
        TeacherViews(tmp_path / "views")
    assert "\n" not in str(caught.value)


STAGES = [
    Stage("kd", epochs=3),
    Stage("at", epochs=3, lr=0.01),
    Stage("rkd", epochs=3, reference_feature_weight=0.1),
]


def losses_of(results: list[dict[str, Any]]) -> list[float]:
    return [record["losses"]["loss"] for one in results for record in one["history"]]


def test_distilled_from_what_was_kept_the_teacher_never_runs(
    keep: Any, asked: Counting, net: Net, views: Views, tmp_path: Path
) -> None:
    kept, live, heard = keep(), net(), net()
    asked.passes = 0
    found = distill(asked, heard, views, STAGES, tmp_path / "kept", engine=CPU, views=kept)
    assert asked.passes == 0
    expected = distill(asked, live, views, STAGES, tmp_path / "live", engine=CPU)
    assert asked.passes == 3 * 3 * len(views)
    assert losses_of(found) == pytest.approx(losses_of(expected), rel=2e-2)
    # Logits are kept in full: the first stage, which hears nothing else, is the same.
    assert losses_of(found)[:3] == pytest.approx(losses_of(expected)[:3], rel=1e-5)


def test_without_kept_features_the_stages_that_need_them_ask_the_living(
    keep: Any, asked: Counting, net: Net, views: Views, tmp_path: Path
) -> None:
    kept = keep(feature_limit=0)
    asked.passes = 0
    distill(asked, net(), views, STAGES[:1], tmp_path, engine=CPU, views=kept)
    assert asked.passes == 0
    distill(asked, net(), views, STAGES[:2], tmp_path, engine=CPU, views=kept)
    assert asked.passes == 3 * len(views)


def test_what_another_teacher_said_makes_another_stage(
    keep: Any, asked: Counting, net: Net, views: Views, tmp_path: Path
) -> None:
    kept, told = keep(), Told()
    for heard in (None, kept, kept):
        distill(
            asked, net(), views, STAGES[:1], tmp_path / "run", engine=CPU, views=heard,
            listener=told,
        )  # fmt: skip
    assert told.told == [("kd", 3, 0), ("kd", 3, 0)]


def test_a_view_that_was_not_kept_stops_the_stage_in_one_line(
    keep: Any, asked: Counting, net: Net, views: Views, tmp_path: Path
) -> None:
    kept = keep(views=2)
    expected = "teacher's 2 kept views .* but the batch has view 2; ask the teacher anew instead"
    with pytest.raises(TrainingError, match=expected):
        distill(asked, net(), views, STAGES[:1], tmp_path / "run", engine=CPU, views=kept)
    assert not (tmp_path / "run" / "1-kd" / METRICS).exists()


ON_A_FULL_DISK = """
import sys
from pathlib import Path
import torch
from foundation.errors import NoSpaceError
from smskd import Batch, keep_teacher_views
from smskd.features.signals import Shapes, Signals

said = Signals(torch.ones(400, 30), (torch.ones(400, 4, 4, 4),), torch.ones(400, 8))
batch = Batch(torch.zeros(400, 1, 1, 1), torch.zeros(400), torch.arange(400), 0)
try:
    keep_teacher_views(
        Path(sys.argv[1]), lambda _: said, lambda view: [batch], samples=400, views=2,
        shapes=Shapes.of(said), made_from={}, feature_limit=10**9,
    )
except NoSpaceError as error:
    print(error)
    sys.exit(18)
"""


@pytest.mark.slow
def test_a_full_disk_is_told_and_does_not_kill_and_with_more_space_it_goes_on(
    small_disk: tuple[Path, Callable[[str], None]],
) -> None:
    """A view takes 48 + 51 + 6 KB: the first has room, and of the second the files' heads."""
    disk, resize = small_disk
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(disk)]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stopped.returncode == 18, stopped
    assert str(disk) in stopped.stdout
    assert "no space left" in stopped.stdout
    first = disk / "view-0000" / "feature-0.npy"
    written = first.stat().st_mtime_ns
    assert not (disk / "view-0001").exists()
    resize("1m")
    subprocess.run(command, check=True)
    assert first.stat().st_mtime_ns == written
    kept = TeacherViews(disk)
    batch = Batch(torch.zeros(1, 1, 1, 1), torch.zeros(1), torch.tensor([399]), 1)
    assert kept.read(batch).features[0].sum() == 64
