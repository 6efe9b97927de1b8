"""How fast is a distilled epoch? Our loop beside a plain one, and SMSKD beside no reference.

    python benchmarks/training_speed.py                       # digits, written out as JPEG files
    python benchmarks/training_speed.py --data folder:cifar10 # any class folders

The plain loop decodes every image on the fly in DataLoader workers, augments it there, runs fp32
in the contiguous layout, and asks the teacher in each step. All variants have the same student,
teacher, batch size, augmentation and optimizer, and take turns in one process, round after round;
medians over rounds are compared. Of SMSKD's loops the last epoch of a second stage is timed, and
at the end two whole stages, by the clock and in processor time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from pipeline.data import load_dataset
from pipeline.data.batches import TrainBatches
from pipeline.data.images import ArrayImages, ImageSet, sample_of
from pipeline.data.splits import Splits, split
from pipeline.models.families.cifar_resnet import CifarResNet
from pipeline.recipe.sections.data import AugmentRecipe, DataRecipe
from pipeline.shown.outcome import table_of
from smskd import (
    Engine,
    Listener,
    MethodSpec,
    Stage,
    TeacherViews,
    distill,
    keep_teacher_views,
)
from smskd.distillation import pair_on
from smskd.methods.kd import kd_loss
from smskd.teaching.teachers import live_teacher

SHIFT, BATCH = 4, 128
AUGMENT = AugmentRecipe(shift=SHIFT, flip=True)
KD, AT = (MethodSpec("kd"),), (MethodSpec("at"),)
# How a second stage holds on to its reference.
HELD = {"no reference": {"weighting": "none"}, "reference": {},
        "reference held by at": {"reference_methods": "previous"}}  # fmt: skip
WHOLE_EPOCHS, WHOLE_VIEWS = 20, 8
# Six layers of a block pair each: a student of a quarter of its teacher's cost.
TEACHER_DEPTH, STUDENT_DEPTH = 26, 8


def networks(channels: int, classes: int) -> tuple[nn.Module, nn.Module]:
    """Teacher and student, freshly drawn: speed does not depend on the weights."""
    torch.manual_seed(0)
    teacher = CifarResNet(TEACHER_DEPTH, classes, channels)
    return teacher, CifarResNet(STUDENT_DEPTH, classes, channels)


def as_files(images: ArrayImages, folder: Path) -> Path:
    """Images as JPEG files in class folders."""
    for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        path = folder / f"{label:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(path, quality=95)
    return folder


def plain_loop(folder: Path, splits: Splits, workers: int) -> Callable[[], None]:
    """One epoch of distillation as it is commonly written."""
    shape = splits.preprocessing
    transform = v2.Compose(
        [
            v2.Grayscale(1) if shape.channels == 1 else v2.Identity(),
            v2.RandomCrop((shape.height, shape.width), padding=SHIFT),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(shape.mean, shape.std),
        ]
    )
    files = ImageFolder(str(folder), transform)
    loader = DataLoader(files, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
    teacher, student = networks(shape.channels, len(splits.classes))
    optimizer = torch.optim.SGD(student.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)

    def epoch() -> None:
        teacher.eval()
        student.train()
        for images, labels in loader:
            with torch.no_grad():
                target = teacher(images)
            logits = student(images)
            loss = nn.functional.cross_entropy(logits, labels)
            loss = loss + 0.9 * kd_loss(logits, target, 4.0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


class Seconds(NamedTuple):
    """What something took, by the clock and of the processor."""

    clock: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        return cls(time.perf_counter(), time.process_time())

    def since(self, earlier: Seconds) -> Seconds:
        return Seconds(self.clock - earlier.clock, self.cpu - earlier.cpu)


class Watch(Listener):
    """Notes when each stage and epoch began and ended."""

    def __init__(self) -> None:
        self.marks: list[Seconds] = []

    def stage_started(self, name: str, epochs: int, done: int) -> None:  # noqa: ARG002
        self.marks.append(Seconds.now())

    def epoch_done(self, record: dict[str, Any]) -> None:  # noqa: ARG002
        self.marks.append(Seconds.now())


def our_loop(
    images: ImageSet,
    splits: Splits,
    engine: Engine,
    *,
    stages: list[Stage],
    views: int | None = None,
    whole: bool = False,
) -> Callable[[], Seconds]:
    """What the last stage's last epoch takes, or all of the stages."""
    shape = splits.preprocessing
    batches = TrainBatches(images, shape, AUGMENT, BATCH, 0, views=views)

    def run() -> Seconds:
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder:
            teacher, student = networks(shape.channels, len(splits.classes))
            kept = kept_views(Path(folder), teacher, student, batches, engine) if views else None
            distill(
                teacher,
                student,
                batches,
                stages,
                Path(folder) / "run",
                engine=engine,
                views=kept,
                listener=watch,
            )
        return watch.marks[-1].since(watch.marks[0 if whole else -2])

    return run


def kept_views(
    folder: Path, teacher: nn.Module, student: nn.Module, batches: TrainBatches, engine: Engine
) -> TeacherViews:
    """What the teacher says, kept before the clock starts."""
    assert batches.views is not None
    pair = pair_on(teacher, student, batches)
    return keep_teacher_views(
        folder / "views",
        live_teacher(pair.teacher, engine),
        batches.view_batches,
        samples=batches.samples,
        views=batches.views,
        shapes=pair.teacher_shapes,
        made_from={},
        feature_limit=10**9,
    )


def timed(loop: Callable[[], Seconds | None]) -> Seconds:
    """What a loop says of itself, or else what it took."""
    started = Seconds.now()
    return loop() or Seconds.now().since(started)


def second_stages(make_loop: Callable[..., Callable[[], Seconds]]) -> dict[str, Any]:
    """Loops of a second stage, without a reference and with each kind of it."""
    loops = {}
    for name, held in HELD.items():
        first, second = Stage(AT, epochs=1), Stage(KD, epochs=1, **held)
        again, whole = replace(second, epochs=3), replace(second, epochs=WHOLE_EPOCHS)
        loops[f"second stage, {name}"] = make_loop([first, second])
        loops[f"second stage, {name}, views kept, seen anew"] = make_loop([first, second], views=1)
        loops[f"second stage, {name}, views kept, seen again"] = make_loop([first, again], views=1)
        both = [replace(first, epochs=WHOLE_EPOCHS), whole]
        loops[f"two stages, {name}, {WHOLE_VIEWS} views kept"] = make_loop(
            both, views=WHOLE_VIEWS, whole=True
        )
    return loops


def costs(channels: int, size: int) -> tuple[float, float]:
    """Multiply-adds of teacher and student for one image, in millions."""
    millions = []
    for network in networks(channels, 10):
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, channels, size, size))
        millions.append(counter.get_total_flops() / 2e6)
    return millions[0], millions[1]


def main() -> None:
    """Measure and print ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    args = parser.parse_args()
    recipe = DataRecipe(name=args.data)
    splits = split(load_dataset(recipe), recipe)
    images = sample_of(splits.train, args.images)
    engine = Engine(accelerator="cpu", precision=args.precision)
    with tempfile.TemporaryDirectory() as folder:
        make_loop = partial(our_loop, images, splits, engine)
        loops: dict[str, Callable[[], Seconds | None]] = {
            "plain loop": plain_loop(as_files(images, Path(folder)), splits, args.workers),
            "ours, teacher asked": make_loop(stages=[Stage(KD, epochs=1)]),
            "ours, teacher's views kept": make_loop(stages=[Stage(KD, epochs=1)], views=1),
            **second_stages(lambda stages, **how: make_loop(stages=stages, **how)),
        }
        for name, loop in loops.items():
            if not name.startswith("two stages"):
                loop()  # workers, caches and kernels are warm after it
        taken: dict[str, list[Seconds]] = {name: [] for name in loops}
        for _ in range(args.rounds):
            for name, loop in loops.items():
                taken[name].append(timed(loop))
    median = {
        name: Seconds(*map(statistics.median, zip(*values, strict=True)))
        for name, values in taken.items()
    }
    shape = splits.preprocessing
    teacher_cost, student_cost = costs(shape.channels, shape.height)
    print(
        f"{len(images.labels)} images of {shape.height}×{shape.width}, batch {BATCH}, "
        f"{torch.get_num_threads()} threads, {args.precision}; teacher {teacher_cost:.1f} M "
        f"multiply-adds, student {student_cost:.1f} M: {teacher_cost / student_cost:.1f} to 1"
    )
    count, plain = len(images.labels), median["plain loop"].clock
    rows = [
        [name, f"{count / value.clock:,.0f}", f"{plain / value.clock:.2f}"]
        for name, value in median.items()
        if not name.startswith("two stages")
    ]
    console = Console(width=110, highlight=False)
    console.print(table_of("", ["loop", "images/s", "× the plain loop's speed"], rows))
    console.print(table_of("", ["with a reference ÷ without", "cpu", "clock"], overheads(median)))


def overheads(median: dict[str, Seconds]) -> list[list[str]]:
    """What each kind of reference makes of a loop's time, as rows of words."""
    free, *kinds = HELD
    rows = []
    for name, value in median.items():
        kind = next((kind for kind in reversed(kinds) if f", {kind}" in name), None)
        if kind is None or f", {free}" in name:
            continue
        without = median[name.replace(f", {kind}", f", {free}")]
        ratios = [value.cpu / without.cpu, value.clock / without.clock]
        rows.append([name, *(f"{ratio:.3f}" for ratio in ratios)])
    return rows


if __name__ == "__main__":
    main()
