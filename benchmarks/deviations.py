"""What it is worth to do as a paper's authors where our default does not (docs/method.md).

    OMP_NUM_THREADS=1 python benchmarks/deviations.py --seeds 3

A resnet20 that saw 862 handwritten digits of 8×8 pixels, one for all seeds, teaches a resnet8 that
sees 69 of them for 25 epochs; accuracy on the 719 test images, mean and deviation over the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from torch import nn

from pipeline.models import build_model
from pipeline.recipe.file import load_recipe
from pipeline.training.prepare import TrainingData
from smskd import Engine, MethodSpec, Stage, distill, evaluate, train_alone
from smskd.pair import Taps

RECIPE = {
    "data.image_size": 8,
    "data.val_fraction": 0.2,
    "data.test_fraction": 0.4,
    "data.student_fraction": 0.08,
    "data.batch_size": 16,
    "data.augment.shift": 1,
    "data.augment.rotate": 12.0,
}
TAPS = ["layer1", "layer2", "layer3"]
BEFORE = [f"{layer}.2.relu:input" for layer in TAPS]
REVIEW = MethodSpec("reviewkd", settings={"warmup_epochs": 5})
ARMS: dict[str, tuple[MethodSpec, Taps]] = {
    "reviewkd, the teacher behind its ReLU": (REVIEW, (TAPS, TAPS)),
    "reviewkd, the teacher in front of its ReLU": (REVIEW, (TAPS, BEFORE)),
    "sakd, teacher_bias 0": (MethodSpec("sakd"), (TAPS, TAPS)),
    "sakd, teacher_bias 10": (MethodSpec("sakd", settings={"teacher_bias": 10.0}), (TAPS, TAPS)),
}
ENGINE = Engine(accelerator="cpu")
CPU = torch.device("cpu")


def drawn(name: str, seed: int) -> nn.Module:
    """A network of ours for grey digits, with first weights of its own."""
    torch.manual_seed(seed)
    return build_model(name, 10, 1)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    data, teacher = TrainingData(load_recipe(None, RECIPE)), drawn("resnet20", 0)
    learns = Stage(epochs=8, lr=0.05, warmup_epochs=1.0)
    with tempfile.TemporaryDirectory() as folder:
        teacher_batches = data.batches(data.splits.train, 0, "teacher")
        train_alone(teacher, teacher_batches, learns, Path(folder) / "teacher", engine=ENGINE)
        for place, (name, (spec, taps)) in enumerate(ARMS.items()):
            accuracies = []
            for seed in range(seeds):
                student = drawn("resnet8", 100 + seed)
                student_batches = data.batches(data.splits.student_train, seed)
                stages = [Stage((spec,), epochs=25)]
                at = Path(folder) / f"{place}-{seed}"
                distill(
                    teacher,
                    student,
                    student_batches,
                    stages,
                    at,
                    taps=taps,
                    seed=seed,
                    engine=ENGINE,
                )
                accuracies.append(
                    100 * evaluate(student, data.evaluation(data.splits.test), CPU)["top1"]
                )
            spread = statistics.stdev(accuracies) if seeds > 1 else 0.0
            print(f"{name}: {statistics.mean(accuracies):.2f} ± {spread:.2f} %", flush=True)


if __name__ == "__main__":
    main()
