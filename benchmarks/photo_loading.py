"""How fast do training crops of photos come? Our batches beside torchvision's transforms in a
DataLoader, which has a worker process on each core.

    python benchmarks/photo_loading.py FOLDER                 # any folder with photos in it
    python benchmarks/photo_loading.py FOLDER --policy trivialaugment
    python benchmarks/photo_loading.py FOLDER --memory        # of 1,000 images and 4,000

Crops of 224 pixels, cut and mirrored at random and normalised, in batches of 128 that nobody
learns from. Each loop is a process of its own, and they take turns, round after round; the files
are in the system's page cache. An epoch's time has the start of workers and threads in it, but no
imports. Medians over the rounds are compared, of the clock and of the processors' time: where
others use the machine too, the latter says more.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

SIZE, BATCH = 224, 128
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PILLOW, TENSORS, OURS = "DataLoader, Pillow", "DataLoader, tensors", "ours"
FILLING, CACHED, AGAIN = "ours, filling a cache", "ours, from the cache", "and its next epoch"


@dataclass(frozen=True)
class Epoch:
    """What one pass over the images took.

    Attributes:
        seconds: by the clock.
        processor_seconds: of all processes together, in the system too.
        peak_mb: the largest memory of the process itself, in megabytes.
    """

    images: int
    seconds: float
    processor_seconds: float
    peak_mb: float


def photos_in(folder: Path, count: int) -> list[Path]:
    """So many photos of a folder, each as often as needed."""
    suffixes = {".jpg", ".jpeg", ".png"}
    photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if not photos:
        sys.exit(f"{folder}: no photos; name a folder that has some")
    return (photos * (count // len(photos) + 1))[:count]


class Photos:
    """Files as our data chapter takes them."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return str(self.paths[index])

    def open(self, index: int) -> Path:
        return self.paths[index]


def data_loader(paths: list[Path], policy: str, *, tensors: bool) -> Iterable[Any]:
    """What torchvision's reference training has, with Pillow or with tensors as its backend."""
    import torch  # noqa: PLC0415 - each process imports what its own loop needs
    from PIL import Image  # noqa: PLC0415
    from torch.utils.data import DataLoader, Dataset  # noqa: PLC0415
    from torchvision.io import ImageReadMode, decode_image  # noqa: PLC0415
    from torchvision.transforms import v2  # noqa: PLC0415

    policies = {
        "none": [],
        "trivialaugment": [v2.TrivialAugmentWide()],
        "randaugment": [v2.RandAugment()],
    }
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            *policies[policy],
            *([] if tensors else [v2.PILToTensor()]),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )

    class Files(Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> Any:
            if tensors:
                return transform(decode_image(str(paths[index]), ImageReadMode.RGB)), 0
            with Image.open(paths[index]) as image:
                return transform(image.convert("RGB")), 0

    workers = len(os.sched_getaffinity(0))
    return DataLoader(Files(), batch_size=BATCH, shuffle=True, num_workers=workers)


def our_batches(paths: list[Path], policy: str, cache: Path | None) -> Iterable[Any]:
    """What our training has."""
    from foundation.bundle import Preprocessing  # noqa: PLC0415
    from pipeline.data.batches import TrainBatches  # noqa: PLC0415
    from pipeline.data.cache import PictureCache  # noqa: PLC0415
    from pipeline.data.decoding import DecodedImages  # noqa: PLC0415
    from pipeline.data.framing import Fit  # noqa: PLC0415
    from pipeline.recipe.sections.data import AugmentRecipe  # noqa: PLC0415

    keep_freed_memory()
    labels = np.zeros(len(paths), np.int64)
    images = DecodedImages(Photos(paths), labels, Fit(SIZE, SIZE))
    if cache is not None:
        images.cache = PictureCache(cache, len(paths), 2 * SIZE)
    preprocessing = Preprocessing(SIZE, SIZE, 3, MEAN, STD)
    augment = AugmentRecipe(preset="imagenet", policy=policy)
    return TrainBatches(images, preprocessing, augment, BATCH, seed=0)


def keep_freed_memory() -> None:
    """As every command of ours that trains does."""
    from foundation.memory import keep_freed_memory as keep  # noqa: PLC0415

    keep()


def processor_seconds() -> float:
    """Of this process and those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def epoch_of(batches: Iterable[Any]) -> Epoch:
    """Go through all batches once."""
    began, before, images = time.perf_counter(), processor_seconds(), 0
    for batch in batches:
        images += len(batch[0])
    return Epoch(
        images,
        time.perf_counter() - began,
        processor_seconds() - before,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def run_loop(loop: str, paths: list[Path], policy: str, cache: Path) -> Iterator[Epoch]:
    """The epochs of one process."""
    if loop in {PILLOW, TENSORS}:
        yield epoch_of(data_loader(paths, policy, tensors=loop == TENSORS))
        return
    batches = our_batches(paths, policy, None if loop == OURS else cache)
    yield epoch_of(batches)
    if loop == CACHED:
        batches.set_epoch(1)  # type: ignore[attr-defined]
        yield epoch_of(batches)


def in_own_process(loop: str, args: argparse.Namespace, count: int, cache: Path) -> list[Epoch]:
    """The epochs of a loop in a fresh process."""
    command = [
        sys.executable, __file__, str(args.folder), "--images", str(count), "--policy", args.policy,
        "--loop", loop, "--cache", str(cache),
    ]  # fmt: skip
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [Epoch(**values) for values in json.loads(output.splitlines()[-1])]


def compare(args: argparse.Namespace) -> None:
    """All loops in turns."""
    epochs: dict[str, list[Epoch]] = {}
    for path in set(photos_in(args.folder, args.images)):
        path.read_bytes()
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for loop in (PILLOW, TENSORS, OURS, FILLING, CACHED):
                first, *rest = in_own_process(loop, args, args.images, Path(folder))
                epochs.setdefault(loop, []).append(first)
                if rest:
                    epochs.setdefault(AGAIN, []).extend(rest)
    print(
        f"{args.images} photos, policy {args.policy}, {args.rounds} rounds, {os.cpu_count()} cores"
    )
    columns: tuple[Callable[[Epoch], float], ...] = (
        lambda epoch: epoch.seconds,
        lambda epoch: epoch.processor_seconds,
    )
    medians = {
        loop: [statistics.median(map(column, of_loop)) for column in columns]
        for loop, of_loop in epochs.items()
    }
    print(f"{'loop':24} images/s   CPU ms   × the speed by the clock, by CPU time")
    for loop, (seconds, processor) in medians.items():
        ratios = [
            base / own for base, own in zip(medians[PILLOW], (seconds, processor), strict=True)
        ]
        print(
            f"{loop:24} {args.images / seconds:8,.0f} {processor / args.images * 1e3:8.2f}   "
            f"{ratios[0]:.2f}, {ratios[1]:.2f}"
        )


def compare_memory(args: argparse.Namespace) -> None:
    """The largest memory of an epoch, of some images and of four times as many."""
    for loop in (OURS, CACHED):
        for count in (1000, 4000):
            with tempfile.TemporaryDirectory() as folder:
                if loop == CACHED:
                    in_own_process(FILLING, args, count, Path(folder))
                epochs = in_own_process(loop, args, count, Path(folder))
            print(f"{loop:24} {count:5} images: {max(e.peak_mb for e in epochs):,.0f} MB")


def main() -> None:
    """Measure and print ratios; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--policy", choices=("none", "trivialaugment", "randaugment"), default="none"
    )
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.loop:
        paths = photos_in(args.folder, args.images)
        print(json.dumps([asdict(e) for e in run_loop(args.loop, paths, args.policy, args.cache)]))
    elif args.memory:
        compare_memory(args)
    else:
        compare(args)


if __name__ == "__main__":
    main()
