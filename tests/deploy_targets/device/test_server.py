"""The server in a process of its own, spoken to line by line."""

import json
import subprocess
import sys

import pytest

from foundation.errors import HostError, MissingFileError


def serve(*lines):
    """Messages and exit code of a server that is sent those lines."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy_targets.device.server"],
        input="".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines),
        capture_output=True,
        text=True,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def job_for(bundle, runtime="onnxruntime"):
    return {"bundle": str(bundle), "runtime": runtime, "threads": 1, "warmup_seconds": 0.1}


def test_a_server_is_ready_then_answers_each_turn_and_ends_with_its_input(onnx_bundle):
    messages, code = serve(
        job_for(onnx_bundle),
        {"queries": 7, "max_seconds": 10},
        {"queries": 3, "max_seconds": 10},
    )
    assert code == 0
    assert [m["kind"] for m in messages] == ["ready", "samples", "samples"]
    ready, *samples = messages
    assert [len(m["ns"]) for m in samples] == [7, 3]
    assert min(ns for m in samples for ns in m["ns"]) > 0
    assert ready["runtime"]["executed_precision"]["summary"] == "f32"
    assert ready["parity"]["max_abs_error"] < 1e-4


def test_a_turn_is_bounded_in_time_and_times_two_queries_at_least(onnx_bundle):
    messages, _ = serve(job_for(onnx_bundle), {"queries": 10**9, "max_seconds": 1e-9})
    assert len(messages[1]["ns"]) == 2


def test_without_a_turn_nothing_is_timed(onnx_bundle):
    messages, code = serve(job_for(onnx_bundle))
    assert ([m["kind"] for m in messages], code) == (["ready"], 0)


@pytest.mark.parametrize("line", ["", "{", '{"queries": 1}', '{"bundel": "x"}'])
def test_what_is_no_job_or_no_turn_is_answered_with_an_error(line, onnx_bundle):
    for lines in ([line], [job_for(onnx_bundle), line]):
        messages, code = serve(*lines)
        assert messages[-1]["kind"] == "error"
        assert messages[-1]["exit_code"] == code == HostError.exit_code


def test_a_folder_that_is_no_bundle_is_an_error(tmp_path):
    messages, code = serve(job_for(tmp_path))
    assert [m["kind"] for m in messages] == ["error"]
    assert code == MissingFileError.exit_code


def test_no_other_runtime_is_imported(onnx_bundle, shadowed):
    shadowed("openvino", "raise SystemExit('must not be imported')")
    assert serve(job_for(onnx_bundle))[1] == 0
