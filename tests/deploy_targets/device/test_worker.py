"""The worker in a process of its own, as a host starts it."""

import json
import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from foundation.errors import (
    CorruptFileError,
    HostError,
    MissingFileError,
    ModelMismatchError,
    UnknownNameError,
    UsageError,
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
        "min_seconds": 0,
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
    without_progress = [kind for kind in kinds if kind != "progress"]
    assert without_progress == [
        "facts", "startup", "warm", "conditions", "timed", "conditions", "conditions",
        "memory", "throughput", "result",
    ]  # fmt: skip
    assert [m["at"] for m in messages if m["kind"] == "conditions"] == ["before", "during", "after"]
    assert [m["number"] for m in messages if m["kind"] == "progress"] == [1, 2, 3, 4, 5]
    (timed,) = (m for m in messages if m["kind"] == "timed")
    assert len(timed["ns"]) == 20
    assert 0 < sum(timed["ns"]) <= timed["span_ns"]


def test_what_is_done_is_not_done_again(onnx_bundle, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "e.npz", images=images, labels=np.zeros(70, int))
    job = job_for(onnx_bundle, evaluation=str(tmp_path / "e.npz"))
    done = {"queries": 15, "timed_s": 0.01, "images": 64, "throughput": True}
    messages, code = work({**job, "done": done})
    assert code == 0
    assert [len(m["ns"]) for m in messages if m["kind"] == "timed"] == [5]
    assert [m["n"] for m in messages if m["kind"] == "counted"] == [6]
    assert "throughput" not in {m["kind"] for m in messages}
    messages, _ = work({**job, "done": {**done, "queries": 20, "memory": True}})
    assert not {"timed", "warm", "conditions", "memory"} & {m["kind"] for m in messages}
    assert messages[-1]["kind"] == "result"


def test_where_only_the_memory_is_not_told_it_is_that_after_queries(onnx_bundle, shadowed):
    # Each query takes 1 MiB and keeps it: a process that answers once has a smaller peak.
    shadowed(
        "onnxruntime",
        "import os, sys\n"
        "sys.path.remove(os.path.dirname(__file__))\n"
        "del sys.modules['onnxruntime']\n"
        "import onnxruntime\n"
        "class Session(onnxruntime.InferenceSession):\n"
        "    taken = []\n"
        "    def run(self, *a, **k):\n"
        "        self.taken.append(b'x' * (1 << 20))\n"
        "        return super().run(*a, **k)\n"
        "onnxruntime.InferenceSession = Session\n",
    )
    job = job_for(onnx_bundle, queries=60)
    done = {"queries": 60, "timed_s": 0.1, "throughput": True}
    resumed, code = work({**job, "done": done})
    assert code == 0
    (memory,) = (m for m in resumed if m["kind"] == "memory")
    assert memory["peak"] > memory["before_load"] + 60


def test_a_job_that_only_starts_tells_how_it_began_and_what_memory_it_took(onnx_bundle):
    messages, code = work(job_for(onnx_bundle, only_start=True))
    assert code == 0
    (started,) = messages
    assert started["kind"] == "started"
    assert started["startup_ms"]["load"] > 0
    assert started["memory_mb"]["peak"] > 0


def test_more_queries_than_asked_for_are_timed_where_they_take_no_time(onnx_bundle):
    messages, _ = work(job_for(onnx_bundle, min_seconds=1.2, max_seconds=5))
    parts = [m for m in messages if m["kind"] == "timed"]
    assert len(parts) >= 3
    assert sum(m["span_ns"] for m in parts) >= 1.2e9
    assert sum(len(m["ns"]) for m in parts) > 20


def test_a_core_that_is_not_there_is_wrong_use(onnx_bundle):
    error = the_error(job_for(onnx_bundle, pin="4096"))
    assert error["exit_code"] == UsageError.exit_code
    assert "core 4096" in error["message"]


def test_a_pinned_process_runs_there_and_says_so(onnx_bundle):
    core = min(os.sched_getaffinity(0))
    messages, code = work(job_for(onnx_bundle, pin=str(core)))
    assert code == 0
    assert messages[-1]["runtime"]["pinned"] == [core]


def test_without_xnnpack_one_line_says_so(onnx_bundle):
    if "XnnpackExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has it")
    error = the_error(job_for(onnx_bundle, runtime="xnnpack"))
    assert error["exit_code"] == HostError.exit_code
    assert "built without it" in error["message"]


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
