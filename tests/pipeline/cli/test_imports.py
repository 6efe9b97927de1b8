"""What a command does not need, it does not import."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.run_folder.folder import RunFolder

TELL = """
import sys
from pipeline.cli import main
sys.argv[0] = "compress"
try:
    main()
finally:
    print("IMPORTED", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
HEAVY = {"torch", "numpy", "onnx", "onnxruntime", "openvino", "nncf", "matplotlib"}


def imported(said) -> set[str]:
    (line,) = (line for line in said.err.splitlines() if line.startswith("IMPORTED "))
    return set(line.split()[1:])


def test_help_imports_nothing_but_the_command_line(python, tmp_path: Path) -> None:
    said = python(TELL, "--help", cwd=tmp_path)
    assert said.code == 0
    assert not (HEAVY | {"pydantic"}) & imported(said)


@pytest.mark.parametrize("arguments", [["run", "--help"], ["distill", "--bogus"]], ids=" ".join)
def test_a_commands_help_imports_nothing_heavy(python, tmp_path: Path, arguments) -> None:
    assert not HEAVY & imported(python(TELL, *arguments, cwd=tmp_path))


def test_a_command_waits_for_no_others_options_and_for_its_section_of_the_recipe_alone(
    own: RunFolder, python, tmp_path: Path
) -> None:
    tell = TELL.replace('{name.partition(".")[0] for name in sys.modules}', "sys.modules")
    said = python(tell, "gate", own.path, cwd=tmp_path)
    assert "Gate: " in said.out
    assert "pipeline.recipe.sections.gate" in imported(said)
    unasked = {"pipeline.recipe.sections.recipe", "pipeline.cli.run", "pipeline.benching.bench"}
    assert not unasked & imported(said)


LIBRARIES = {"torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "nncf", "sklearn"}


@pytest.mark.parametrize(
    ("arguments", "not_needed"),
    [
        (["targets"], HEAVY | {"PIL", "scipy", "filelock"}),
        (["gate"], HEAVY | {"PIL", "scipy", "jinja2"}),
        (["report"], HEAVY | {"PIL", "scipy", "jinja2"}),
        (["run", "tiny.toml"], LIBRARIES | {"scipy", "matplotlib", "jinja2"}),
        (["distill", "tiny.toml"], LIBRARIES | {"scipy", "matplotlib", "jinja2"}),
        (["bench"], HEAVY),
        (
            ["bench", "--bundle", "local-onnx-int8", "--queries", "5", "--max-seconds", "0.1"],
            LIBRARIES | {"matplotlib"},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_done_is_found_done_without_what_does_it(
    own: RunFolder, python, tmp_path: Path, arguments: list[str], not_needed: set[str]
) -> None:
    said = python(TELL, *arguments, cwd=tmp_path)
    assert said.code == 0, said.err
    assert not not_needed & imported(said)


def test_a_report_is_drawn_where_there_is_none(own: RunFolder, python, tmp_path: Path) -> None:
    assert "matplotlib" not in imported(python(TELL, "report", cwd=tmp_path))
    for name in ("report.md", "report-front.png"):
        own.path.joinpath(name).unlink()
    assert "matplotlib" in imported(python(TELL, "report", cwd=tmp_path))


def test_the_check_would_see_torch(python, tmp_path: Path) -> None:
    said = python(TELL, "models", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "torch" in imported(said)
