from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import pytest

from export._libraries import failing_as, first_line, quiet
from foundation.errors import ExportError


def test_nothing_is_heard_inside_and_everything_after(capfd: pytest.CaptureFixture[str]) -> None:
    def make_noise() -> None:
        print("printed")
        print("complained", file=sys.stderr)
        logging.getLogger("library").critical("logged")

    with warnings.catch_warnings(record=True) as heard:
        with quiet():
            make_noise()
            warnings.warn("warned", UserWarning, stacklevel=1)
        assert heard == []
    assert capfd.readouterr() == ("", "")
    make_noise()
    printed, complained = capfd.readouterr()
    assert printed == "printed\n"
    assert "complained" in complained


def test_a_failure_becomes_one_line_with_the_root_cause() -> None:
    with pytest.raises(ExportError) as caught, failing_as("it cannot be done", "do without"):
        try:
            raise KeyError("deep\nin the library")
        except KeyError as error:
            raise RuntimeError("a long story\nover many lines") from error
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("it cannot be done (KeyError: ")
    assert str(caught.value).endswith("); do without")


def test_our_own_errors_and_the_systems_pass_as_they_are() -> None:
    for error in (ExportError("ours"), OSError("the system's")):
        with pytest.raises(type(error)) as caught, failing_as("x", "y"):
            raise error
        assert caught.value is error


def test_colours_and_endless_lines_are_cut() -> None:
    assert first_line(ValueError("\n\x1b[96mred\x1b[0m alert\nmore")) == "ValueError: red alert"
    assert first_line(ValueError()) == "ValueError"
    assert len(first_line(ValueError("x" * 5000))) < 300


def test_the_package_imports_without_torch_or_a_runtime() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'openvino', 'nncf', 'onnxslim'}"
    code = f"import sys, export; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_formats_can_be_listed_without_torch_openvino_or_nncf() -> None:
    heavy = "{'torch', 'openvino', 'nncf', 'onnxslim'}"
    code = (
        "import sys; from export.formats import FORMATS; FORMATS.names(); "
        f"assert not {heavy} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
