"""The worker in a process of its own, as a host starts it."""

import json
import subprocess
import sys

import pytest

from foundation.errors import (
    CorruptFileError,
    HostError,
    MissingFileError,
    ModelMismatchError,
    UnknownNameError,
)


def work(job):
    """Messages and exit code of a worker for a job, given as a dict or as raw text."""
    text = job if isinstance(job, str) else json.dumps(job)
    done = subprocess.run(
        [sys.executable, "-m", "deploy_targets.device.worker"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def job_for(bundle, runtime="onnxruntime", **more):
    return {
        "bundle": str(bundle),
        "runtime": runtime,
        "threads": 1,
        "queries": 20,
        "max_seconds": 0.2,
        "throughput_batch": 2,
        **more,
    }


def the_error(job):
    messages, code = work(job)
    (error,) = (message for message in messages if message["kind"] == "error")
    assert error is messages[-1]
    assert error["exit_code"] == code
    assert "\n" not in error["message"]
    return error


def test_a_job_gives_facts_then_progress_then_one_result(onnx_bundle):
    messages, code = work(job_for(onnx_bundle))
    assert code == 0
    kinds = [message["kind"] for message in messages]
    assert kinds == ["facts", *["progress"] * 5, "result"]
    assert [m["number"] for m in messages if m["kind"] == "progress"] == [1, 2, 3, 4, 5]
    assert messages[-1]["latency_ms"]["n"] == 20


def test_what_a_runtime_prints_does_not_break_the_messages(onnx_bundle, shadowed):
    # Stands before the real library, prints through Python and past it, then steps aside.
    shadowed(
        "onnxruntime",
        "import os, sys\n"
        "print('hello from Python')\n"
        "os.write(1, b'hello from C\\n')\n"
        "sys.path.remove(os.path.dirname(__file__))\n"
        "del sys.modules['onnxruntime']\n"
        "import onnxruntime\n",
    )
    messages, code = work(job_for(onnx_bundle))
    assert code == 0
    assert messages[-1]["kind"] == "result"


def test_no_other_runtime_is_imported(onnx_bundle, shadowed):
    shadowed("openvino", "raise SystemExit('must not be imported')")
    messages, _ = work(job_for(onnx_bundle))
    assert messages[-1]["kind"] == "result"


def test_a_changed_file_is_found_before_anything_runs(onnx_bundle, copy_of):
    folder = copy_of(onnx_bundle)
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"!")
    error = the_error(job_for(folder))
    assert error["exit_code"] == CorruptFileError.exit_code
    assert "model.onnx" in error["message"]


def test_a_folder_that_is_no_bundle_is_an_error(tmp_path):
    assert the_error(job_for(tmp_path))["exit_code"] == MissingFileError.exit_code


def test_an_unknown_runtime_is_an_error(onnx_bundle):
    error = the_error(job_for(onnx_bundle, runtime="onnxruntim"))
    assert error["exit_code"] == UnknownNameError.exit_code
    assert "did you mean 'onnxruntime'" in error["message"]


def test_a_runtime_that_is_not_installed_says_how_to_get_it(onnx_bundle, shadowed):
    shadowed("onnxruntime", "raise ModuleNotFoundError(\"No module named 'onnxruntime'\")")
    error = the_error(job_for(onnx_bundle))
    assert error["exit_code"] == HostError.exit_code
    assert "pip install onnxruntime" in error["message"]


def test_a_model_with_a_fixed_batch_says_so_when_it_gets_another(fixed_batch_bundle):
    error = the_error(job_for(fixed_batch_bundle))
    assert error["exit_code"] == ModelMismatchError.exit_code
    assert "(2, 3, 8, 8)" in error["message"]
    messages, _ = work(job_for(fixed_batch_bundle, throughput_batch=1))
    assert messages[-1]["kind"] == "result"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"bundle": "x"}', '{"bundel": "x"}'])
def test_what_is_no_job_is_answered_with_an_error(text):
    assert the_error(text)["exit_code"] == HostError.exit_code
