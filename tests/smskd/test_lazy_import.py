"""`import smskd` is quick: torch comes with the first name that needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import smskd


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_does_not_import_torch() -> None:
    run_python("import smskd, sys; assert 'torch' not in sys.modules")


def test_a_stage_and_an_engine_can_be_written_down_without_torch() -> None:
    run_python(
        "import sys; from smskd import Engine, MethodSpec, Stage; "
        "Stage('kd'); Engine(); assert 'torch' not in sys.modules"
    )


@pytest.mark.parametrize("name", smskd.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(smskd, name).__module__.startswith("smskd") or name.isupper()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'smskd' has no attribute 'distil'"):
        _ = smskd.distil
