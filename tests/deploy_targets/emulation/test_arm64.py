"""A real student on emulated ARM64: `make test-arm64`, which makes the demo's run first.

Bundles are made for the Raspberry Pis from the run, and answer under QEMU as they do here.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.arm64

COMPRESS = Path(sys.executable).with_name("compress")
RUN = Path(os.environ.get("COMPRESS_ARM64_RUN", "runs/digits"))


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles of the run's student, for the Pi 4 and the Pi 5."""
    if not (RUN / "student.safetensors").is_file():
        pytest.fail(f"{RUN}: no student there; `make demo` trains one")
    copy = Path(shutil.copytree(RUN, tmp_path_factory.mktemp("arm64") / "run"))
    targets = ["--target", "rpi4", "--target", "rpi5", "--precision", "fp32", "--precision", "int8"]
    subprocess.run([COMPRESS, "export", copy, *targets, "--format", "onnx", "--format", "openvino"],
                   check=True, capture_output=True)  # fmt: skip
    if find_spec("ncnn"):
        targets = ["--target", "rpi4", "--target", "rpi5", "--precision", "fp32"]
        subprocess.run([COMPRESS, "export", copy, *targets, "--precision", "fp16",
                        "--format", "ncnn"], check=True, capture_output=True)  # fmt: skip
    if find_spec("executorch"):
        subprocess.run([COMPRESS, "export", copy, "--target", "rpi5", "--precision", "fp32",
                        "--precision", "int8", "--format", "executorch"],
                       check=True, capture_output=True)  # fmt: skip
    return copy / "bundles"


def emulated(bundle: Path, target: str) -> dict[str, Any]:
    """What `compress bundle verify --emulate` says of the emulated device."""
    done = subprocess.run([COMPRESS, "bundle", "verify", bundle, "--emulate", target, "--json"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["passed"]
    (check,) = (one for one in told["checks"] if one["what"] == f"emulated {target}")
    assert not any(unit in check["found"] for unit in (" ms", " s,", "seconds"))
    return check


@pytest.mark.parametrize(
    ("bundle", "target", "processor"),
    [
        ("rpi4-onnx-fp32", "rpi4", "cortex-a72"),
        ("rpi4-onnx-int8", "rpi4", "cortex-a72"),
        ("rpi4-onnx-int8", "rpi3", "cortex-a53"),
        ("rpi5-onnx-fp32", "rpi5", "cortex-a76"),
        ("rpi5-onnx-int8", "rpi5", "cortex-a76"),
        ("rpi5-openvino-fp32", "rpi5", "cortex-a76"),
        ("rpi5-openvino-fp32", "rpi4", "cortex-a72"),
        ("rpi5-openvino-int8", "rpi5", "cortex-a76"),
    ],
)
def test_a_student_answers_on_an_emulated_board(
    bundles: Path, bundle: str, target: str, processor: str
) -> None:
    found = emulated(bundles / bundle, target)["found"]
    assert f"on {processor}" in found
    # Of 32 images eight bits may cost one here as well as there.
    told = re.search(r"same class for (\d+)%", found)
    assert told and int(told[1]) >= (96 if bundle.endswith("int8") else 100)
    assert f"in {'int8' if bundle.endswith('int8') else 'f32'} " in found
    if bundle.endswith("onnx-int8"):
        assert "bit for bit" in found


@pytest.mark.skipif(find_spec("ncnn") is None, reason="ncnn is not installed: an extra brings it")
@pytest.mark.parametrize(
    ("bundle", "target", "ran_in"),
    [
        ("rpi4-ncnn-fp32", "rpi4", "in f32 on cortex-a72"),
        ("rpi5-ncnn-fp32", "rpi5", "in f32 on cortex-a76"),
        ("rpi5-ncnn-fp16", "rpi5", "in f16 on cortex-a76"),
    ],
)
def test_ncnn_answers_alike_there_in_the_precision_of_its_core(
    bundles: Path, bundle: str, target: str, ran_in: str
) -> None:
    found = emulated(bundles / bundle, target)["found"]
    assert ran_in in found
    assert "same class for 100%" in found


@pytest.mark.skipif(find_spec("executorch") is None, reason="executorch is not installed: an extra")
@pytest.mark.parametrize("target", ["rpi4", "rpi5"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_executorch_answers_alike_there(bundles: Path, precision: str, target: str) -> None:
    found = emulated(bundles / f"rpi5-executorch-{precision}", target)["found"]
    told = re.search(r"same class for (\d+)%", found)
    assert told and int(told[1]) >= (96 if precision == "int8" else 100)
    if precision == "int8":
        assert "bit for bit" in found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 makes another integer of it")
def test_answers_that_are_other_there_fail_the_emulated_board_alone(
    overflowing_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(overflowing_bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["parity"] = {"tolerance": {"relative_error": 1e-3, "top1_agreement": None}}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    done = subprocess.run([COMPRESS, "bundle", "verify", bundle, "--emulate", "rpi4", "--json"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 19, done.stdout + done.stderr
    states = {one["what"]: one["state"] for one in json.loads(done.stdout)["checks"]}
    assert (states["model"], states["emulated rpi4"]) == ("ok", "failed")
