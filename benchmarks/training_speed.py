"""How fast is a distilled epoch? Our loop beside a plain one, and SMSKD beside no reference.

    python benchmarks/training_speed.py                       # digits, written out as JPEG files
    python benchmarks/training_speed.py --data folder:cifar10 # any class folders

The plain loop decodes every image on the fly in DataLoader workers, augments it there, runs fp32
in the contiguous layout, and asks the teacher in each step. All variants have the same student,
teacher, batch size, augmentation and optimizer, and take turns in one process, round after round;
medians over rounds are compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

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
from pipeline.recipe.sections import AugmentRecipe, DataRecipe
from pipeline.shown.terminal import table_of
from smskd import Engine, MethodSpec, Stage, TeacherViews, distill, keep_teacher_views
from smskd.distillation import pair_on
from smskd.methods.kd import kd_loss
from smskd.teaching.teachers import live_teacher

SHIFT, BATCH, VIEWS = 4, 128, 1
AUGMENT = AugmentRecipe(shift=SHIFT, flip=True)
KD = (MethodSpec("kd"),)
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


def our_loop(
    images: ImageSet, splits: Splits, engine: Engine, *, stages: list[Stage], views: bool
) -> Callable[[], None]:
    """The last stage's epoch, as `distill` times it."""
    shape = splits.preprocessing
    count = VIEWS if views else None
    batches = TrainBatches(images, shape, AUGMENT, BATCH, 0, views=count)

    def epoch() -> None:
        with tempfile.TemporaryDirectory() as folder:
            teacher, student = networks(shape.channels, len(splits.classes))
            teacher_views = (
                kept_views(Path(folder), teacher, student, batches, engine) if views else None
            )
            results = distill(
                teacher,
                student,
                batches,
                stages,
                Path(folder) / "run",
                engine=engine,
                views=teacher_views,
            )
            epoch.seconds = results[-1]["history"][-1]["seconds"]  # type: ignore[attr-defined]

    return epoch


def kept_views(
    folder: Path, teacher: nn.Module, student: nn.Module, batches: TrainBatches, engine: Engine
) -> TeacherViews:
    """What the teacher says, kept before the clock starts."""
    pair = pair_on(teacher, student, batches)
    return keep_teacher_views(
        folder / "views",
        live_teacher(pair.teacher, engine),
        batches.view_batches,
        samples=batches.samples,
        views=VIEWS,
        shapes=pair.teacher_shapes,
        made_from={},
        feature_limit=0,
    )


def timed(epoch: Callable[[], None]) -> float:
    """Seconds of one epoch: what the loop says of itself, or else the clock."""
    started = time.perf_counter()
    epoch()
    return getattr(epoch, "seconds", time.perf_counter() - started)


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
    kd, free = Stage(KD, epochs=1), Stage(KD, epochs=1, weighting="none")
    with tempfile.TemporaryDirectory() as folder:
        make_loop = lambda stages, views: our_loop(  # noqa: E731
            images, splits, engine, stages=stages, views=views
        )
        loops = {
            "plain loop": plain_loop(as_files(images, Path(folder)), splits, args.workers),
            "ours, teacher asked": make_loop([kd], False),
            "ours, teacher's views kept": make_loop([kd], True),
            "second stage, no reference": make_loop([kd, free], False),
            "second stage, reference": make_loop([kd, kd], False),
            "second stage, no reference, views kept": make_loop([kd, free], True),
            "second stage, reference, views kept": make_loop([kd, kd], True),
        }
        for loop in loops.values():
            loop()  # workers, caches and kernels are warm after it
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(args.rounds):
            for name, loop in loops.items():
                seconds[name].append(timed(loop))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    shape = splits.preprocessing
    teacher_cost, student_cost = costs(shape.channels, shape.height)
    print(
        f"{len(images.labels)} images of {shape.height}×{shape.width}, batch {BATCH}, "
        f"{torch.get_num_threads()} threads, {args.precision}; teacher {teacher_cost:.1f} M "
        f"multiply-adds, student {student_cost:.1f} M: {teacher_cost / student_cost:.1f} to 1"
    )
    rows = [
        [name, f"{len(images.labels) / value:,.0f}", f"{median['plain loop'] / value:.2f}"]
        for name, value in median.items()
    ]
    console = Console(width=110, highlight=False)
    console.print(table_of("", ["loop", "images/s", "× the plain loop's speed"], rows))
    for suffix in ("", ", views kept"):
        ratio = median[f"second stage, reference{suffix}"]
        ratio /= median[f"second stage, no reference{suffix}"]
        print(f"SMSKD's epoch with reference ÷ without{suffix}: {ratio:.3f}")


if __name__ == "__main__":
    main()
