"""The blocks for a shell in the docs' pages, run in order, page by page, in a reader's folder.

In that folder the demo's recipe is there once more, as a file that takes less long: the program
takes a file before a shipped recipe of its name. All else is what the page says.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from doc_blocks import ROOT, RUN, Block, blocks, quick_recipe
from PIL import Image
from torch import nn

pytestmark = pytest.mark.slow

HERE = "tests/pipeline/cli/test_docs_run.py"
PAGES = sorted(page for page, test in RUN.items() if test == HERE)
FRUIT = {"lemon": (240, 220, 40), "lime": (90, 190, 60), "plum": (120, 40, 120)}

# What a gate answers is the machine's to say: 3 is an answer as good as 0.
ANSWERS = {"gate": {0, 3}}


def write_fruit(root: Path) -> None:
    """Class folders of discs, a table of them, and some without classes."""
    random = np.random.default_rng(0)
    rows = [("path", "label", "split")]
    for split, count in (("train", 12), ("val", 6), ("test", 10)):
        for name, colour in FRUIT.items():
            folder = root / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 60, (48, 48, 3)) + np.array(colour) * 3 // 4
                path = folder / f"{number:02}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
                rows.append((str(path.relative_to(root)), name, split))
    with (root / "photos.csv").open("w", newline="") as table:
        csv.writer(table).writerows(rows)
    shutil.copytree(root / "photos/test/lime", root / "frames")
    for wordnet in ("n01440764", "n01443537"):
        shutil.copytree(root / "photos/test/lemon", root / "val" / wordnet)


class Fruity(nn.Module):
    """Knows the colours: each class's logit is how near the mean colour is to its own."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(3, 16, 1)
        self.judge = nn.Linear(16, classes)
        torch.manual_seed(0)
        with torch.no_grad():
            self.spread.weight.copy_(torch.randn(16, 3, 1, 1))
            self.spread.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.judge(torch.relu(self.spread(images)).mean((2, 3)))


def fruity(classes: int) -> Fruity:
    """The network with its last layer fitted to the colours."""
    network = Fruity(classes)
    colours = torch.tensor([[channel / 255 for channel in colour] for colour in FRUIT.values()])
    noisy = (colours + 0.02 * torch.randn(40, 3, 3)).flatten(0, 1)
    images = noisy[..., None, None].expand(-1, -1, 8, 8)
    labels = torch.arange(3).repeat(40)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network.eval()


def write_models(root: Path) -> None:
    """ONNX files, weights and a factory, as a reader's other tools leave them."""
    for name, classes in (("net", 3), ("model", 3), ("imagenet", 1000)):
        torch.onnx.export(
            fruity(classes), (torch.rand(1, 3, 48, 48),), root / f"{name}.onnx", dynamo=True,
            input_names=["image"], dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
        )  # fmt: skip
    from torchvision.models import shufflenet_v2_x1_0  # noqa: PLC0415 - a second

    torch.manual_seed(0)
    torch.save(shufflenet_v2_x1_0(num_classes=3).state_dict(), root / "weights.pt")
    (root / "mine").mkdir()
    (root / "mine/__init__.py").touch()
    (root / "mine/models.py").write_text(
        "from torchvision.models import shufflenet_v2_x0_5\n\n\n"
        "def net():\n    return shufflenet_v2_x0_5(num_classes=3)\n"
    )
    (root / "names.txt").write_text("lemon\nlime\nplum\n")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, forked: Callable) -> Path:
    """A folder with what the pages speak of, and the short demo's run."""
    root = tmp_path_factory.mktemp("reader")
    text = quick_recipe()
    (root / "digits").write_text(text)
    (root / "recipe.toml").write_text(text)
    write_fruit(root)
    write_models(root)
    (root / "boards").mkdir()
    (profile,) = (b for b in blocks() if b.page == "docs/targets.md" and b.language == "toml")
    (root / "boards/mine.toml").write_text(profile.text)
    (root / "budget.toml").write_text("[limits]\nsize_mb = { max = 5.0 }\n")
    done = forked("run", "digits", cwd=root)
    assert done.code == 0, done.err
    assert forked("gate", "runs/digits", cwd=root).code in ANSWERS["gate"]
    shutil.copy(root / "runs/history.jsonl", root)
    return root


def run_line(line: str, folder: Path, forked: Callable) -> tuple[int, str]:
    """One command line: ours in a process that has imported all, others in a shell."""
    words = shlex.split(line)
    if words[0] == "compress" and not re.search(r"[>|&$]", line):
        done = forked(*words[1:], cwd=folder)
        return done.code, done.err
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shell = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", line],
        cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return shell.returncode, shell.stderr


def is_well(line: str, code: int, said: str) -> bool:
    """Whether a line ended as it should, or as a machine makes it end that has other work."""
    if "--submit" in line and code == 2:
        return "is suspect" in said
    return code in (ANSWERS.get(line.split()[1], {0}) if line.startswith("compress") else {0})


def blocks_to_run(page: str) -> list[Block]:
    return [one for one in blocks() if one.page == page and one.is_shell and one.reason is None]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_the_page_runs(
    page: str, reader: Path, forked: Callable, tmp_path: Path
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(reader, folder)
    assert blocks_to_run(page)
    for block in blocks_to_run(page):
        for line in block.commands:
            code, said = run_line(line, folder, forked)
            assert is_well(line, code, said), f"{block}: {line}\n{said}"
