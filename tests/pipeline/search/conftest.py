"""Points made by hand, and one small search on digits, carried out once by the real command."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from made_once import made_once

from deploy_targets.device.messages import Accuracy
from foundation.statistics import wilson_interval
from pipeline.commands.schemas import schemas
from pipeline.gating.metrics import Figure
from pipeline.search.folder import SearchFolder
from pipeline.search.points import StudentCosts, TrialPoint

COMPRESS = Path(sys.executable).with_name("compress")
PATIENCE_S = 1800

SEARCH = """\
[data]
name = "digits"
image_size = 16
val_fraction = 0.3
student_fraction = 0.2
batch_size = 64

[teacher]
model = "resnet8"
training = { epochs = 3 }

[student]
model = "resnet8"

[export]
formats = ["onnx"]
precisions = ["fp32"]

[bench]
threads = 1
queries = 30
min_seconds = 0
max_seconds = 0.5
rounds = 7

[search]
trials = 4
seed = 3

[search.space]
"student.model" = ["resnet8", "broken:broken"]
"export.precisions" = ["fp32", "int8"]

[search.stages]
kd = [{ methods = "kd", epochs = 1, hold_epochs = 1.0 }]
kd-at = [{ methods = "kd", epochs = 1, hold_epochs = 1.0 }, { methods = "at", epochs = 1 }]
"""

BROKEN = """
def broken(num_classes, in_channels):
    raise RuntimeError("it cannot be built")
"""


# What seed 3 draws first; two have their student in common, all three its first stage.
DRAWN = [
    ("kd", "resnet8", "int8"),
    ("kd-at", "resnet8", "fp32"),
    ("kd", "resnet8", "fp32"),
    ("kd", "broken:broken", "int8"),
]


@dataclass(frozen=True)
class Searched:
    """A search's folder, and what the command printed and told; to be read, not changed."""

    folder: SearchFolder
    printed: dict[str, Any]
    told: str

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(self.folder.front_path.read_text())


@pytest.fixture(scope="session")
def small_search() -> str:
    """The text of a recipe for a search of a minute; one of its students cannot be built."""
    return SEARCH


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, doomed: dict[str, str]) -> Searched:
    pytest.importorskip("optuna")

    def search(folder: Path) -> None:
        (folder / "small.toml").write_text(SEARCH)
        (folder / "broken.py").write_text(BROKEN)
        done = subprocess.run(
            [COMPRESS, "search", "small.toml", "--trust-code", "--json"],
            cwd=folder, env={**doomed, "COLUMNS": "200", "TERM": "dumb", "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (folder / "printed.json").write_text(done.stdout)
        (folder / "told.txt").write_text(done.stderr)

    folder = made_once(tmp_path_factory, "search", search)
    printed = json.loads((folder / "printed.json").read_text())
    Draft202012Validator(schemas()["search.schema.json"]).validate(printed)
    told = (folder / "told.txt").read_text()
    return Searched(SearchFolder(folder / "runs/small"), printed, told)


def answers(right: str, n: int = 16) -> Accuracy:
    """Answers to n images; which were right stands in hexadecimal digits."""
    count = int(right, 16).bit_count()
    low, high = wilson_interval(count, n)
    return Accuracy(count / n, n, low, high, right, "0" * 64)


@pytest.fixture(scope="session")
def point() -> Callable[..., TrialPoint]:
    """Makes a point of 16 validation images: `point(1, "7fff", (1.0, 0.9, 1.1))`."""

    def make(
        trial: int,
        right: str,
        latency: tuple[float, float, float],
        size: float = 0.1,
        **more: Any,
    ) -> TrialPoint:
        figures = {"latency_p50": Figure(*latency), "size": Figure.exact(size)}
        facts: dict[str, Any] = {
            "folder": f"trials/{trial:04d}",
            "bundle": "local-onnx-fp32",
            "manifest_sha256": f"{trial:064x}",
            "params": {"student.model": "resnet8"},
            "teacher": answers("ffff"),
            "host": "local",
            "format": "onnx",
            "precision": "fp32",
            "costs": StudentCosts(parameters=1000, macs=10_000),
            "first_stage": None,
            **more,
        }
        return TrialPoint(trial=trial, validation=answers(right), figures=figures, **facts)

    return make


@pytest.fixture
def recipe_with(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the small recipe with another [search], and gives the file."""

    def write(search: str) -> Path:
        path = tmp_path / "other.toml"
        path.write_text(SEARCH.partition("[search]")[0] + search)
        return path

    return write


def program(name: str) -> str | None:
    """A program of PostgreSQL's, which Debian keeps outside the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return shutil.which(name) or next(map(str, places), None)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of PostgreSQL of our own, on a socket in a folder: the URL of its database."""
    initdb, postgres = program("initdb"), program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("there is no PostgreSQL here (Debian: `apt-get install postgresql`)")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    as_root = os.geteuid() == 0
    if as_root and not _user("nobody"):
        pytest.skip("PostgreSQL does not run as root, and there is no user nobody to run it as")
    # A socket's path may have 107 letters, which those of pytest are near.
    folder = Path(tmp_path_factory.mktemp("pg"))
    place = Path("/tmp") / f"pg-{os.getpid()}"
    place.mkdir(mode=0o700)
    who: dict[str, Any] = {}
    if as_root:
        user = pwd.getpwnam("nobody")
        os.chown(place, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data = place / "data"
    log = (folder / "postgres.log").open("w")
    try:
        subprocess.run(
            [initdb, "--pgdata", data, "--auth", "trust", "--username", "search", "--no-sync"],
            check=True, stdout=log, stderr=log, cwd=place, **who,
        )  # fmt: skip
        options = ["-k", str(place), "-c", "listen_addresses=", "-c", "fsync=off"]
        with subprocess.Popen(
            [postgres, "-D", data, *options], stdout=log, stderr=log, cwd=place, **who
        ) as server:
            try:
                _wait_for(place / ".s.PGSQL.5432", server)
                yield f"postgresql://search@/postgres?host={place}"
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(PATIENCE_S)
    finally:
        log.close()
        shutil.rmtree(place, ignore_errors=True)


def _user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _wait_for(socket: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not socket.exists():
        assert server.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # it takes connections a moment later
