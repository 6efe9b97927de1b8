"""One tiny road, walked once by the real command, and what the tests need to walk their own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from made_once import made_once
from PIL import Image

from foundation.files import sha256_of
from pipeline.commands.schemas import schemas
from pipeline.run_folder.folder import RunFolder

COMPRESS = Path(sys.executable).with_name("compress")

TINY = """\
name = "tiny"

[data]
name = "digits"
image_size = 16
batch_size = 128

[teacher]
model = "resnet8"
training = { epochs = 2 }

[student]
model = "resnet8"

[[stages]]
methods = "kd"
epochs = 1

[[stages]]
methods = "at"
epochs = 1

[[stages]]
methods = "rkd"
epochs = 1

[export]
formats = ["onnx", "openvino"]
precisions = ["fp32", "int8"]

[bench]
threads = 1
queries = 30
min_seconds = 0
max_seconds = 0.5
rounds = 7

[gate.limits]
size_mb = { max = 5.0 }
top1_percent = { min = 1.0 }
"""


@cache
def _schema_of(kind: str) -> dict[str, Any]:
    return schemas()[f"{kind}.schema.json"]


@dataclass(frozen=True)
class Said:
    """What a command left behind: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed; a record fits the schema that is published of its kind."""
        content = json.loads(self.out)
        if isinstance(content, dict):
            Draft202012Validator(_schema_of(content["kind"])).validate(content)
        return content

    @property
    def complaint(self) -> str:
        """The one line that a user's mistake ends in."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err + self.out, self.err
        return lines[0]


Command = Callable[..., Said]


@dataclass(frozen=True)
class Road:
    """The tiny road as `compress run --json` left it; to be read, not changed."""

    folder: Path
    recipe: Path
    run: RunFolder
    said: Said


def environment() -> dict[str, str]:
    # One thread: on cores that others use too, threads that wait for each other double the time.
    settings = {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **settings}


def in_environment(command: list[str], cwd: Path) -> Said:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def compress() -> Command:
    """The console script, as a user calls it: `compress("gate", "--json", cwd=folder)`."""

    def call(*arguments: object, cwd: Path) -> Said:
        return in_environment([str(COMPRESS), *map(str, arguments)], cwd)

    return call


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """As `compress`, but imports are paid for once: for tests that call many commands."""
    folder, numbers = tmp_path_factory.mktemp("said"), itertools.count()
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forks.py"))],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as forks:
        assert forks.stdin and forks.stdout
        orders, codes = forks.stdin, forks.stdout

        def call(*arguments: object, cwd: Path) -> Said:
            stem = folder / str(next(numbers))
            order = {"arguments": [*map(str, arguments)], "cwd": str(cwd), "stem": str(stem)}
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            code = int(codes.readline())
            out, err = (stem.with_suffix(end).read_text() for end in (".out", ".err"))
            return Said(code, out, err)

        yield call
        orders.close()


@pytest.fixture(scope="session")
def python() -> Command:
    """A fresh interpreter that runs a piece of code."""

    def call(code: str, *arguments: object, cwd: Path) -> Said:
        return in_environment([sys.executable, "-c", code, *map(str, arguments)], cwd)

    return call


@pytest.fixture(scope="session")
def tiny() -> str:
    """The text of a recipe that is walked in half a minute."""
    return TINY


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory, compress: Command) -> Road:
    def walk(folder: Path) -> None:
        (folder / "tiny.toml").write_text(TINY)
        said = compress("run", "tiny.toml", "--json", cwd=folder)
        (folder / "said.json").write_text(json.dumps(asdict(said)))

    folder = made_once(tmp_path_factory, "road", walk)
    said = Said(**json.loads((folder / "said.json").read_text()))
    return Road(folder, folder / "tiny.toml", RunFolder(folder / "runs/tiny"), said)


@pytest.fixture
def own(road: Road, tmp_path: Path) -> RunFolder:
    """A copy of the tiny road's run, at runs/tiny in `tmp_path`, to go on with or to spoil."""
    assert road.said.code == 0, road.said.err
    shutil.copy(road.recipe, tmp_path / "tiny.toml")
    return RunFolder(Path(shutil.copytree(road.run.path, tmp_path / "runs/tiny")))


@pytest.fixture(scope="session")
def list_anew() -> Callable[[RunFolder], None]:
    """Let run.json list a run's results as they are now, as if its own steps had made them."""

    def list_results(run: RunFolder) -> None:
        record = run.record()
        made = [*run.measurement_paths(), *run.estimate_paths(), *run.comparison_paths()]
        for path in made:
            name, step = path.relative_to(run.path).as_posix(), f"bench {path.stem}"
            for done in record["steps"].values():
                done["products"].pop(name, None)
            done = record["steps"].setdefault(step, {"depends_on": {}, "products": {}})
            done["products"][name] = sha256_of(path)
        run.note(steps=record["steps"])

    return list_results


@pytest.fixture(scope="session")
def flip_a_byte() -> Callable[[Path], None]:
    """Change one byte in the middle of a file."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)

    return flip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A small folder dataset: two classes, ten training and four test images each."""
    return _draw_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def draw_photos() -> Callable[..., Path]:
    """Makes such a dataset anywhere: `draw_photos(folder, classes)`."""
    return _draw_photos


def _draw_photos(root: Path, classes: tuple[str, ...] = ("dark", "light"), size: int = 16) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for level, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(0, 100, (size, size, 3), dtype=np.uint8)
                Image.fromarray(noise + np.uint8(100 * level)).save(folder / f"{number:02}.png")
    return root
