from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from export._libraries import failing_as, first_line, quiet, writing
from foundation.errors import ExportError, NoSpaceError


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


def test_a_full_disk_that_a_library_tells_of_in_its_own_words_is_one() -> None:
    words = "system error number 28: open file failed with error: No space left on device"
    with pytest.raises(NoSpaceError, match="no space left"), failing_as("it cannot be done", "x"):
        raise RuntimeError(words)


def test_a_writer_that_fails_without_a_reason_has_a_full_disk_where_there_is_no_room(
    small_disk: tuple[Path, Callable[[str], None]],
) -> None:
    folder, resize = small_disk
    resize("100k")
    with pytest.raises(NoSpaceError, match=r"model\.xml: no space left"):  # noqa: SIM117
        with writing(folder / "model.xml", 300_000):
            raise RuntimeError("basic_ios::clear: iostream error")
    with pytest.raises(RuntimeError, match="another reason"), writing(folder / "model.xml", 10_000):
        raise RuntimeError("another reason")
    assert not list(folder.iterdir())
