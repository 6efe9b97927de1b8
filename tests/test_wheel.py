"""What is shipped: whole, typed, and at work in another environment and another folder.

The ordinary tests install the wheel beside the libraries of this environment, out of sight of the
source tree. The one with an environment that is really empty fetches everything, and is slow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
SHORT = {
    "data.image_size": 8,
    "data.student_fraction": 1.0,
    "data.batch_size": 128,
    "teacher.model": '"resnet8"',
    "teacher.training.epochs": 1,
    "stages.0.epochs": 1,
    "stages.1.epochs": 1,
    "export.formats": '["onnx"]',
    "export.precisions": '["int8"]',
    "export.teacher": "false",
    "bench.queries": 30,
    "bench.min_seconds": 0,
    "bench.max_seconds": 0.2,
    "gate.limits": "{ size_mb = { max = 0.5 } }",
}
# A client that knows what it calls, and one that is wrong about it in three ways.
RIGHT = """\
from pathlib import Path

from foundation.errors import nearest
from pipeline.recipe.by_name import RecipeChoice, choose_recipe

close: str | None = nearest("resnet9", ["resnet8"])
choice: RecipeChoice = choose_recipe(Path("digits"))
where: Path = choice.path
"""
WRONG = """\
from pathlib import Path

from foundation.errors import nearest
from pipeline.recipe.by_name import choose_recipe

nearest(9, ["resnet8"])
choose_recipe("digits")
choose_recipe(Path("digits")).path.parnet
"""


def in_folder(command: Sequence[object], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of the source tree."""
    hidden = {"PYTHONPATH", "MYPYPATH", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Environment:
    """A virtual environment that this program is installed into."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin/python"

    def run(self, command: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """One of the environment's own commands."""
        return in_folder([self.folder / "bin" / command, *words], cwd)

    def run_short_road(self, cwd: Path) -> None:
        """The main job on the recipe that ships, with fewer epochs."""
        settings = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
        done = self.run("compress", "run", "digits", "--json", *settings, cwd=cwd)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["kind"] == "run"
        assert "note: recipe digits is the one that ships with edge-compress" in done.stderr
        bundle = cwd / "runs/digits/bundles/local-onnx-int8"
        assert (bundle / "bundle.json").is_file()
        assert (cwd / "runs/digits/report.html").is_file()


def built(kind: str, folder: Path) -> Path:
    """The distribution of that kind, "wheel" or "sdist", built without network."""
    pytest.importorskip(
        "hatchling",
        reason="hatchling, which builds the distributions, is not installed here: "
        "pip install 'edge-compress[dev]'",
    )
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel in an environment of its own, which sees the libraries of this one."""
    environment = Environment(tmp_path_factory.mktemp("environment"))
    venv.create(environment.folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment.python)]
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, *install, str(wheel)], check=True)
    # Once it is installed, so that pip does not take this environment's copy for the one there.
    (site,) = environment.folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "libraries.pth").write_text("\n".join(libraries))
    return environment


def test_the_wheel_has_every_file_of_every_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {name for name in names if ".dist-info/" not in name} == files
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_the_wheel_says_its_licence_and_brings_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (facts,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(facts))
        licence = archive.read(facts.replace("METADATA", "licenses/LICENSE"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert "END OF TERMS AND CONDITIONS" in licence.decode()


def test_the_source_distribution_has_what_is_tracked_and_no_more(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", tmp_path)) as archive:
        paths = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    assert {path.parts[0] for path in paths} == {
        *PACKAGES, "benchmarks", "ci", "docs", "tests", ".gitignore", "PKG-INFO", "action.yml",
        "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md",
        "constraints.txt", "pyproject.toml",
    }  # fmt: skip
    assert Path("pipeline/recipe/shipped/digits.toml") in paths


def test_what_runs_is_the_wheel_and_not_the_source_tree(
    installed: Environment, tmp_path: Path
) -> None:
    names = ", ".join(PACKAGES)
    ask = f"import {names}; print(*(package.__file__ for package in ({names})))"
    done = installed.run("python", "-c", ask, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = [Path(word) for word in done.stdout.split()]
    assert len(files) == len(PACKAGES)
    assert all(path.is_relative_to(installed.folder) for path in files), files


def test_help_and_recipes_are_there_without_a_clone(installed: Environment, tmp_path: Path) -> None:
    assert "compress run digits" in installed.run("compress", "--help", cwd=tmp_path).stdout
    done = installed.run("compress", "recipes", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    paths = {each["name"]: Path(each["path"]) for each in json.loads(done.stdout)["recipes"]}
    assert {"digits", "digits-study"} <= set(paths)
    assert all(path.is_relative_to(installed.folder) for path in paths.values())


@pytest.mark.slow
def test_the_main_job_runs_from_another_folder(installed: Environment, tmp_path: Path) -> None:
    installed.run_short_road(tmp_path)


def test_a_typed_client_is_checked_against_our_types(
    installed: Environment, tmp_path: Path
) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", installed.python]
    done = in_folder([*mypy, "--cache-dir", "cache", "right.py", "wrong.py"], tmp_path)
    *errors, _ = done.stdout.splitlines()
    places = [(line.split(":")[0], int(line.split(":")[1])) for line in errors]
    assert places == [("wrong.py", 6), ("wrong.py", 7), ("wrong.py", 8)], done.stdout
    words = ['"int"; expected "str"', '"str"; expected "Path"', 'no attribute "parnet"']
    assert [word in line for word, line in zip(words, errors, strict=True)] == [True] * 3


@pytest.mark.slow
def test_the_main_job_runs_in_an_environment_that_was_empty(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    venv.create(environment.folder, with_pip=True, symlinks=True)
    done = environment.run("pip", "install", "--quiet", wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert environment.run("compress", "recipes", cwd=elsewhere).returncode == 0
    environment.run_short_road(elsewhere)
