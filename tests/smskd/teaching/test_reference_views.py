"""What a reference said about fixed views: asked once, and read bit for bit."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import NoSpaceError
from smskd import Batch, Engine, MethodSpec, Stage, distill, keep_teacher_views
from smskd.distillation import pair_on
from smskd.features.signals import Signals
from smskd.teaching.reference_views import ReferenceViews
from smskd.teaching.teacher_views import TeacherViews
from smskd.teaching.teachers import live_teacher

Net = Callable[..., nn.Module]
CPU = Engine(accelerator="cpu")
SAMPLES, VIEWS, PLENTY = 20, 2, 10**9


class Asked:
    """A reference that says something new each time, in a number format of its own."""

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        self.times, self.dtype = 0, dtype

    def __call__(self, batch: Batch) -> Signals:
        self.times += 1
        draw = torch.Generator().manual_seed(self.times)
        count = len(batch.images)
        parts = [torch.randn(count, *shape, generator=draw) for shape in [(3,), (2, 4, 4), (5,)]]
        logits, feature, embedding = (part.to(self.dtype) for part in parts)
        return Signals(logits, (feature.contiguous(memory_format=torch.channels_last),), embedding)


def batches(epoch: int) -> Iterator[Batch]:
    """All samples in an order of the epoch's own, in one view."""
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(epoch))
    for ids in order.split(8):
        images = torch.zeros(len(ids), 1, 8, 8)
        yield Batch(images, torch.zeros(len(ids)), ids, epoch % VIEWS)


Make = Callable[..., ReferenceViews]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(ask: Any, **settings: Any) -> ReferenceViews:
        defaults = {"epochs": 6, "done": 0, "limit": PLENTY, "fingerprint": "abc"}
        settings = {"samples": SAMPLES, "views": VIEWS, **defaults, **settings}
        return ReferenceViews(tmp_path / "reference", ask, **settings)

    return build


def heard(views: ReferenceViews, epoch: int) -> list[Tensor]:
    """What is said in an epoch, by sample: logits, feature, embedding."""
    parts: list[list[Tensor]] = [[], [], []]
    ids = []
    for batch in batches(epoch):
        said = views(batch)
        ids.append(batch.ids)
        for part, tensor in zip(parts, (said.logits, *said.features, said.embedding), strict=True):
            part.append(tensor)
    views.after_epoch()
    order = torch.cat(ids).argsort()
    return [torch.cat(part)[order] for part in parts]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_view_is_asked_once_and_then_read_bit_for_bit(dtype: torch.dtype, make: Make) -> None:
    ask = Asked(dtype)
    views = make(ask)
    first = [heard(views, epoch) for epoch in range(VIEWS)]
    assert ask.times == 3 * VIEWS
    for epoch in range(VIEWS, 6):
        for kept, said in zip(heard(views, epoch), first[epoch % VIEWS], strict=True):
            assert kept.dtype == dtype
            assert torch.equal(kept, said)
    assert ask.times == 3 * VIEWS


def test_a_stage_that_goes_on_reads_what_it_had_asked(make: Make) -> None:
    first = heard(make(Asked()), 0)
    again = Asked()
    views = make(again, done=1)
    heard(views, 1)
    assert again.times == 3
    assert all(map(torch.equal, heard(views, 2), first))


def test_an_epoch_that_is_repeated_asks_again(make: Make) -> None:
    """It was kept, but the process died before the epoch was saved."""
    heard(make(Asked()), 0)
    again = Asked()
    views = make(again, done=0)
    heard(views, 0)
    assert again.times == 3


def test_only_views_that_come_back_are_kept(make: Make, tmp_path: Path) -> None:
    views = make(Asked(), epochs=3)  # views 0, 1, 0
    for epoch in range(3):
        heard(views, epoch)
    assert [path.name for path in (tmp_path / "reference").iterdir()] == ["view-0000"]
    views.clear()
    assert not (tmp_path / "reference").exists()
    once = make(Asked(), epochs=VIEWS)
    for epoch in range(VIEWS):
        heard(once, epoch)
    assert not (tmp_path / "reference").exists()


def test_so_many_views_are_kept_as_have_room(make: Make, tmp_path: Path) -> None:
    view = SAMPLES * (3 + 2 * 4 * 4 + 5) * 2  # bytes
    views = make(Asked(), limit=view)
    for epoch in range(3):
        heard(views, epoch)
    assert [path.name for path in (tmp_path / "reference").iterdir()] == ["view-0000"]
    ask = Asked()
    views = make(ask, limit=view - 1, done=3)
    heard(views, 4)  # the one that is there is read, and of another none is kept
    heard(views, 5)
    assert ask.times == 3
    assert [path.name for path in (tmp_path / "reference").iterdir()] == ["view-0000"]


def test_a_view_that_was_not_seen_whole_is_not_kept(make: Make, tmp_path: Path) -> None:
    views = make(Asked())
    views(next(batches(0)))
    views.after_epoch()
    assert list((tmp_path / "reference").iterdir()) == []


def test_batches_without_ids_or_views_are_asked_each_time(make: Make, tmp_path: Path) -> None:
    ask = Asked()
    views = make(ask)
    for batch in batches(0):
        views(batch._replace(ids=None))
        views(batch._replace(view=None))
    assert ask.times == 6
    assert not (tmp_path / "reference").exists()


def truncate(folder: Path) -> None:
    path = folder / "logits.npy"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder: Path) -> None:
    path = folder / "feature-0.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def lead_away(folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    facts["dtypes"]["../logits"] = facts["dtypes"]["logits"]
    facts["sha256"]["../logits"] = facts["sha256"]["logits"]
    (folder / "facts.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    "harm",
    [
        truncate,
        flip,
        lead_away,
        lambda folder: (folder / "embedding.npy").unlink(),
        lambda folder: (folder / "facts.json").write_text("{}"),
        lambda folder: (folder / "facts.json").unlink(),
    ],
)
def test_what_is_damaged_is_told_of_and_asked_anew(
    harm: Callable[[Path], None], make: Make, tmp_path: Path, caplog: Any
) -> None:
    views = make(Asked())
    heard(views, 0)
    heard(views, 1)
    harm(tmp_path / "reference" / "view-0000")
    ask = Asked()
    with caplog.at_level(logging.WARNING):
        views = make(ask, done=2)
    (record,) = caplog.records
    assert "view-0000: the reference is asked anew" in record.getMessage()
    heard(views, 2)
    assert ask.times == 3
    heard(views, 3)
    assert ask.times == 3


def test_what_another_stage_left_is_not_believed(make: Make, tmp_path: Path) -> None:
    heard(make(Asked()), 0)
    make(Asked(), done=1, fingerprint="another")
    assert list((tmp_path / "reference").iterdir()) == []


def test_a_full_disk_is_an_error_of_its_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(NoSpaceError, match=r"reference: no space left"):
        heard(make(Asked()), 0)


class Counting(nn.Module):
    """Counts the passes of all of its copies."""

    passes: list[nn.Module]

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:
            Counting.passes.append(self)
        return self.inner(images)


class Viewed:
    """Twenty images in two views that take turns."""

    samples = SAMPLES

    def __init__(self, data: Any) -> None:
        self.images, self.labels, self.epoch = data.images[:SAMPLES], data.labels[:SAMPLES], 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Batch]:
        return (self._seen(batch) for batch in batches(self.epoch))

    def of(self, view: int) -> Iterator[Batch]:
        ids = torch.arange(SAMPLES)
        yield self._seen(Batch(self.images, self.labels, ids, view))

    def _seen(self, batch: Batch) -> Batch:
        images = self.images if batch.view == 0 else self.images.flip(3)
        return batch._replace(images=images[batch.ids], labels=self.labels[batch.ids])


@pytest.mark.parametrize(
    "held",
    [{}, {"reference_methods": ("at", "rkd")}, {"reference_feature_weight": 0.5}],
    ids=["logits", "methods", "features"],
)
def test_a_stage_asks_its_reference_once_for_each_view(
    held: dict[str, Any], net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    viewed, student = Viewed(data), Counting(net())
    Counting.passes = []
    pair = pair_on(teacher, student, viewed)
    kept: TeacherViews = keep_teacher_views(
        tmp_path / "views", live_teacher(pair.teacher, CPU), viewed.of, samples=SAMPLES,
        views=VIEWS, shapes=pair.teacher_shapes, made_from={}, feature_limit=PLENTY,
    )  # fmt: skip
    methods = (MethodSpec("at"), MethodSpec("rkd"))
    stages = [Stage(methods, epochs=1), Stage("kd", epochs=5, **held)]
    distill(teacher, student, viewed, stages, tmp_path / "run", engine=CPU, views=kept)
    passes = {id(one): 0 for one in Counting.passes}
    for one in Counting.passes:
        passes[id(one)] += 1
    assert sorted(passes.values()) == [3 * VIEWS, 3 * (1 + 5)]
    left = {path.name for path in (tmp_path / "run" / "2-kd").iterdir()}
    assert left == {"weights.safetensors", "metrics.json"}
