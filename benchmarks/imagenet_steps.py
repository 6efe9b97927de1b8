"""How many images a second learn at ImageNet's size? The recipe imagenet-resnet34-resnet18, for a
few hundred steps a stage, on a GPU where there is one.

    python benchmarks/imagenet_steps.py PHOTOS --steps 300    # any folder with photos in it

All is as the recipe has it (networks, batches, augmentation, stages with their reference, engine),
but for what speed does not depend on: the weights are drawn, the labels are no truths, and the
photos come back as often as it takes. Each stage is one epoch of so many steps, timed by the
training loop itself, decoding and the first steps too; before them the batches are timed alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from photo_loading import MEAN, SIZE, STD, Photos, photos_in
from torch import nn

from foundation.bundle import Preprocessing
from foundation.errors import CompressError
from foundation.files import write_json
from pipeline.data.batches import TrainBatches
from pipeline.data.decoding import DecodedImages
from pipeline.data.framing import Fit
from pipeline.models import build_model
from pipeline.recipe.by_name import shipped_recipe
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.recipe import Recipe
from smskd import distill
from smskd.stage import Stage

RECIPE = "imagenet-resnet34-resnet18"
CLASSES = 1000


def recipe_of(batch_size: int | None) -> Recipe:
    """The recipe, each of its stages an epoch long."""
    path = Path(shipped_recipe(RECIPE).path)
    stages = range(len(load_recipe(path).recipe.stages))
    short = {f"stages.{place}.epochs": 1 for place in stages}
    other = {} if batch_size is None else {"data.batch_size": batch_size}
    return load_recipe(path, {**short, **other}).recipe


def batches_of(folder: Path, recipe: Recipe, steps: int) -> TrainBatches:
    """So many batches of the folder's photos, as the recipe has them."""
    photos = photos_in(folder, steps * recipe.data.batch_size)
    labels = np.arange(len(photos), dtype=np.int64) % CLASSES
    return TrainBatches(
        DecodedImages(Photos(photos), labels, Fit(SIZE, SIZE)),
        Preprocessing(SIZE, SIZE, 3, MEAN, STD),
        recipe.data.augment,
        recipe.data.batch_size,
        recipe.seed,
        classes=CLASSES,
        pin=recipe.engine.takes_pinned,
    )


def loading_alone(batches: TrainBatches) -> float:
    """Images a second that nobody learns from."""
    began = time.perf_counter()
    images = sum(len(batch.images) for batch in batches)
    return images / (time.perf_counter() - began)


def by_stage(recipe: Recipe, batches: TrainBatches) -> dict[str, float]:
    """Images a second of each stage."""
    teacher, student = drawn(recipe.teacher.model), drawn(recipe.student.model)
    stages: Sequence[Stage] = recipe.stages
    with tempfile.TemporaryDirectory() as folder:
        metrics = distill(teacher, student, batches, stages, folder, engine=recipe.engine)
    return {
        stage["name"] if stage["index"] == 1 else f"{stage['name']}, with reference": (
            batches.samples / stage["seconds"]
        )
        for stage in metrics
    }


def drawn(model: str) -> nn.Module:
    """A network with weights that learnt nothing."""
    torch.manual_seed(0)
    return build_model(model, CLASSES, 3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--steps", type=int, default=300, help="of a stage (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="in place of the recipe's")
    parser.add_argument("--json", type=Path, help="the figures, here too")
    args = parser.parse_args(arguments)
    if args.steps < 1:
        parser.error("--steps must be at least 1")
    try:
        recipe = recipe_of(args.batch_size)
        batches = batches_of(args.photos, recipe, args.steps)
        speeds = {"batches alone": loading_alone(batches), **by_stage(recipe, batches)}
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        if args.json:
            facts = {"recipe": RECIPE, "steps": args.steps, "batch_size": recipe.data.batch_size}
            write_json(args.json, {**facts, "device": device, "images_per_second": speeds})
    except CompressError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(
        f"{RECIPE}: {args.steps} steps a stage, batch {recipe.data.batch_size}, "
        f"{recipe.engine.precision}, {device}, {os.cpu_count()} cores"
    )
    lines = [f"| {name} | {speed:,.1f} |" for name, speed in speeds.items()]
    print("\n".join(["| what | images/s |", "| --- | ---: |", *lines]))


if __name__ == "__main__":
    main()
