"""The walls between the rooms, as pyproject.toml draws them, and that all of it is typed."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
PACKAGES = sorted(
    path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"
)
CONTRACTS = SETTINGS["importlinter"]["contracts"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_no_room_looks_through_a_wall() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout


def test_a_hole_in_any_wall_is_found(tmp_path: Path) -> None:
    """One import too many for each in a copy, inside a function, where it is easily overlooked."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    for contract in CONTRACTS:
        importer, imported = _forbidden_arrow(contract)
        with (tmp_path / importer.replace(".", "/") / "__init__.py").open("a") as source:
            source.write(f"\ndef late() -> None:\n    import {imported}\n")
    result = lint(tmp_path)
    assert result.returncode == 1
    for contract in CONTRACTS:
        assert f"{contract['name']} BROKEN" in result.stdout


def _forbidden_arrow(contract: dict[str, Any]) -> tuple[str, str]:
    """The package that would import, and the module that it must not."""
    if contract["type"] == "layers":
        (house,) = contract["containers"]
        return f"{house}.{contract['layers'][-1]}", f"{house}.{contract['layers'][0]}"
    return contract["source_modules"][0], contract["forbidden_modules"][-1]


def test_every_chapter_of_pipeline_says_where_it_stands() -> None:
    """And no module lies on the corridor; `__main__` is what torchrun starts."""
    (layers,) = (one["layers"] for one in CONTRACTS if one["type"] == "layers")
    chapters = {
        path.stem
        for path in (ROOT / "pipeline").iterdir()
        if path.stem[:2] != "__" and path.name != "py.typed"
    }
    assert chapters == set(layers)


def test_every_package_is_linted_typed_and_shipped() -> None:
    assert {"deploy_targets", "export", "foundation", "pipeline", "smskd"} <= set(PACKAGES)
    assert sorted(SETTINGS["importlinter"]["root_packages"]) == PACKAGES
    assert sorted(SETTINGS["mypy"]["packages"]) == PACKAGES
    assert sorted(SETTINGS["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES
    assert SETTINGS["mypy"]["strict"] is True


@pytest.mark.parametrize("package", PACKAGES)
def test_every_function_has_its_types(package: str) -> None:
    """Whether they are right is for mypy; this keeps a file from escaping it unannotated."""
    untyped = []
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [a.arg for a in given if a.annotation is None and a.arg not in {"self", "cls"}]
            if bare or node.returns is None:
                untyped.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {bare}")
    assert not untyped
