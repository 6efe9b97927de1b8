"""Work in a process of its own: its answer, its errors, and its end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from foundation.confinement import ProcessLimits, run_confined
from foundation.errors import (
    CorruptFileError,
    ExportError,
    ModelMismatchError,
    process_output_of,
)

AMPLE = ProcessLimits(60.0, 4 << 30)

WORKER = """
import os, time
from foundation.errors import CorruptFileError

def answer(job):
    print("libraries print")
    if job["do"] == "refuse":
        raise CorruptFileError("m.onnx: torn")
    if job["do"] == "take":
        return {"bytes": len(bytearray(8 << 30))}
    if job["do"] == "die":
        os.abort()
    if job["do"] == "loop":
        open(job["pid"], "w").write(str(os.getpid()))
        while True:
            time.sleep(0.01)
    return {"is": [job["do"], 0.1]}
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "its_worker.py").write_text(WORKER)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return "its_worker"


def test_an_answer_comes_back_and_what_is_printed_is_no_part_of_it(worker: str) -> None:
    answer = run_confined(worker, {"do": "this"}, AMPLE, "m", ExportError)
    assert answer == {"is": ["this", 0.1]}


def test_its_errors_are_ours(worker: str) -> None:
    with pytest.raises(CorruptFileError, match=r"^m\.onnx: torn$"):
        run_confined(worker, {"do": "refuse"}, AMPLE, "m", ExportError)


def test_the_traceback_of_its_error_comes_with_it(worker: str) -> None:
    with pytest.raises(CorruptFileError) as caught:
        run_confined(worker, {"do": "refuse"}, AMPLE, "m", ExportError)
    assert "in answer\n" in process_output_of(caught.value)


def test_what_it_prints_is_in_a_log_that_wants_all(
    worker: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "foundation.confinement"):
        run_confined(worker, {"do": "this"}, AMPLE, "m", ExportError)
    begun, ended = caplog.messages
    assert "-m foundation.confinement its_worker" in begun
    assert ended == "m: its process ended with 0 and said: libraries print\n"


@pytest.mark.skipif(os.name != "posix", reason="only Unix limits a process's memory")
def test_more_memory_than_it_may_take_is_one_line(worker: str) -> None:
    with pytest.raises(ModelMismatchError, match="m: asks for more than 4 GiB of memory"):
        run_confined(worker, {"do": "take"}, AMPLE, "m", ModelMismatchError)


def test_its_death_is_one_line(worker: str) -> None:
    with pytest.raises(ExportError, match=r"m: the process that opened it died \(SIGABRT\)"):
        run_confined(worker, {"do": "die"}, AMPLE, "m", ExportError)


def test_what_does_not_come_to_an_end_is_ended(worker: str, tmp_path: Path) -> None:
    job = {"do": "loop", "pid": str(tmp_path / "pid")}
    with pytest.raises(ExportError, match="m: did not come to an end within 3 seconds"):
        run_confined(worker, job, ProcessLimits(3.0, AMPLE.memory), "m", ExportError)
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_the_limits_grow_with_the_model() -> None:
    small, large = ProcessLimits.for_model(1_000_000), ProcessLimits.for_model(500_000_000)
    assert small.seconds == 122
    assert large.seconds == 1120
    assert large.memory >= small.memory >= 3 << 30
