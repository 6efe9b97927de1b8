"""CONTRIBUTING.md: each worked example is one file, and the road is walked with all of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from doc_blocks import blocks_of, quick_recipe

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
EXAMPLES = re.compile(
    r"^### An? (\w+): `([\w/.-]+)`\n.*?^```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE
)

RECIPE = """\
[data]
name = "stripes:160"
image_size = 8
batch_size = 32

[teacher]
model = "resnet8"
training = { epochs = 1 }

[student]
model = "resnet8"

[[stages]]
methods = [{ name = "huber", settings = { delta = 0.5 } }]
epochs = 1

[export]
targets = ["gate-camera"]
teacher = false

[bench]
queries = 30
min_seconds = 0
max_seconds = 0.2

[gate.limits]
size_mb = { max = 1.0 }
"""


def examples() -> dict[str, tuple[str, str]]:
    """Path and content of each kind's file."""
    return {kind: (path, content) for kind, path, content in EXAMPLES.findall(TEXT)}


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree with these files in it, none of which was there."""
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tree / package, ignore=ignored)
    for path, content in examples().values():
        assert not (tree / path).exists()
        (tree / path).write_text(content, encoding="utf-8")
    return tree


def compress(tree: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Not asked for coverage: a copy's lines are nobody's to count.
    hidden = {"COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_each_kind_has_an_example() -> None:
    assert set(examples()) == {"method", "dataset", "format", "runtime", "target"}


def test_the_road_is_walked_with_all_of_them(extended: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(RECIPE)
    done = compress(extended, "run", "own.toml", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/own"
    (stage,) = run.glob("stages/*/metrics.json")
    assert "huber" in json.loads(stage.read_text())["history"][0]["losses"]
    facts = json.loads((run / "data/facts.json").read_text())
    assert facts["classes"] == ["upright", "lying"]
    manifest = json.loads((run / "bundles/gate-camera-ort-fp32/bundle.json").read_text())
    assert (manifest["format"], manifest["runtime"]["name"]) == ("ort", "ort-files")
    (measured,) = run.glob("bench/gate-camera-ort-fp32@*.json")
    runtime = json.loads(measured.read_text())["runtime"]
    assert (runtime["name"], runtime["executed_precision"]["summary"]) == ("ort-files", "f32")


@pytest.mark.slow
def test_every_command_that_it_shows_works(extended: Path, tmp_path: Path) -> None:
    (tmp_path / "digits").write_text(quick_recipe())
    shown = [b for b in blocks_of(ROOT / "CONTRIBUTING.md") if b.is_shell and b.reason is None]
    lines = [line for block in shown for line in block.commands]
    assert len(lines) > 4
    for line in lines:
        done = compress(extended, *shlex.split(line)[1:], cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_they_are_in_the_style_of_the_house(extended: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", extended)
    files = [path for path, _ in examples().values() if path.endswith(".py")]
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--no-cache", *files]
        done = subprocess.run(ruff, cwd=extended, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
