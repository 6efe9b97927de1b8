"""Every shell line of docs/tutorial-photos.md, run in order on a small set."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from doc_blocks import LOOPBACK, blocks_of
from numpy.random import Generator
from PIL import Image, ImageDraw

from foundation.bundle import open_bundle
from pipeline.data.decoding import decode
from pipeline.data.framing import Fit
from pipeline.data.listing import Listing
from pipeline.models.preparation import KNOWN

PAGE = Path(__file__).parent.parent / "docs/tutorial-photos.md"
COLOURS = {"lemon": (240, 220, 40), "lime": (90, 190, 60), "plum": (120, 40, 120)}
COUNTS = {"train": 12, "val": 6, "test": 20}
USUAL = KNOWN["imagenet"]


def fruit(colour: tuple[int, int, int], random: Generator) -> Image.Image:
    """A disc of about that colour on some grey, in a picture of any shape."""
    width, height = (int(side) for side in random.integers(90, 160, 2))
    shade = int(random.integers(60, 200))
    image = Image.new("RGB", (width, height), (shade, shade, shade))
    radius = int(min(width, height) * random.uniform(0.25, 0.4))
    across, down = width // 2, height // 2
    around = np.clip(np.array(colour) + random.integers(-25, 25, 3), 0, 255).tolist()
    box = (across - radius, down - radius, across + radius, down + radius)
    ImageDraw.Draw(image).ellipse(box, fill=tuple(around))
    return image


def write_photos(root: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                fruit(colour, random).save(folder / f"{number:02}.jpg", quality=90)


def write_weights(root: Path, path: Path) -> None:
    """A network that learned these classes, its images prepared in the usual way."""
    names = sorted(str(file.relative_to(root)) for file in root.glob("train/*/*.jpg"))
    fit = Fit(224, 224, "crop", (256, 256))
    pixels = np.stack([decode(Listing(root, names), index, fit) for index in range(len(names))])
    scaled = (pixels / 255 - np.array(USUAL.mean)) / np.array(USUAL.std)
    images = torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32).copy())
    labels = torch.tensor([sorted(COLOURS).index(name.split("/")[1]) for name in names])
    torch.manual_seed(0)
    network = torchvision.models.shufflenet_v2_x1_0(num_classes=len(COLOURS))
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    for _ in range(8):
        for part in torch.randperm(len(labels)).split(12):
            optimizer.zero_grad()
            F.cross_entropy(network(images[part]), labels[part]).backward()
            optimizer.step()
    # So few steps leave the running statistics behind: they are taken of all images at once.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(images)
    torch.save(network.state_dict(), path)


@pytest.mark.slow
def test_every_line_of_the_tutorial_works(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    # What is about the board is run on a stand-in: tests/pipeline/cli/test_docs_on_a_device.py.
    shown = [b for b in blocks_of(PAGE) if b.is_shell and not b.text.startswith(LOOPBACK)]
    lines = [line for block in shown for line in block.commands]
    assert len(lines) >= 10 and all(line.startswith("compress ") for line in lines)
    write_photos(tmp_path / "photos")
    write_weights(tmp_path / "photos", tmp_path / "weights.pt")
    (budget,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "budget.toml").write_text(budget)
    for line in lines:
        command = [sys.executable, "-m", "pipeline", *shlex.split(line)[1:]]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{line}\n{result.stderr}"
    fitting = open_bundle(tmp_path / "runs/mine/bundles/local-onnx-int8").manifest
    assert fitting.input.shape == ["batch", "height", "width", 3]
    assert fitting.accuracy["top1"] >= 0.8
    assert (tmp_path / "runs/small/report.html").is_file()
