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


@pytest.mark.parametrize(
    "arguments",
    [
        ["gate"],
        ["report"],
        ["bench"],
        ["bench", "--bundle", "local-onnx-int8", "--queries", "5", "--max-seconds", "0.1"],
    ],
    ids=" ".join,
)
def test_the_second_half_of_the_road_imports_no_torch(
    own: RunFolder, python, tmp_path: Path, arguments: list[str]
) -> None:
    said = python(TELL, *arguments, cwd=tmp_path)
    assert said.code == 0, said.err
    assert "numpy" in imported(said)
    assert not {"torch", "onnx", "onnxruntime", "openvino", "nncf"} & imported(said)


def test_a_gate_waits_for_no_plotting_library(own: RunFolder, python, tmp_path: Path) -> None:
    assert "matplotlib" not in imported(python(TELL, "gate", cwd=tmp_path))
    assert "matplotlib" in imported(python(TELL, "report", cwd=tmp_path))


def test_the_check_would_see_torch(python, tmp_path: Path) -> None:
    said = python(TELL, "models", cwd=tmp_path)
    assert said.code == 0, said.err
    assert "torch" in imported(said)
