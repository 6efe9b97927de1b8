"""Bundles timed against each other in real processes; ratios, never milliseconds."""

import json
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deploy_targets.measuring.compare import (
    CompareOptions,
    compare,
    read_comparison,
    write_comparison,
)
from foundation.errors import (
    HostError,
    MissingFileError,
    ModelMismatchError,
    UnknownNameError,
    UsageError,
)

# Ended by the number of queries; the time is for a machine that has much else to do.
FRESH = CompareOptions(threads=1, rounds=6, queries=100, max_seconds=60)
SHARED = replace(FRESH, fresh=False)


def workers():
    """Process numbers of the servers that we have started and that still are there."""
    there = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return {
        pid
        for pid in there
        if b"deploy_targets.device.server" in read(f"/proc/{pid}/cmdline")
        and f"PPid:\t{os.getpid()}\n".encode() in read(f"/proc/{pid}/status")
    }


def read(path):
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # the process has ended
        return b""


def look_at(launched, _):
    launched.append(workers())


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert workers() == set()


@pytest.fixture(scope="module")
def compared(onnx_bundle, slow_bundle, openvino_bundle):
    seen, processes = [], set()

    def look(message):
        seen.append(message)
        processes.update(workers())

    result = compare([onnx_bundle, slow_bundle, openvino_bundle], options=SHARED, on_progress=look)
    assert len(processes) == 3
    return result, seen


def test_a_bundle_with_several_times_the_work_is_slower(compared):
    _, slow, _ = compared[0].candidates
    assert slow.against_baseline.verdict == "slower"
    assert slow.against_baseline.low > 1.2


def test_the_comparison_says_what_ran_where_and_how(compared):
    result, _ = compared
    first, second, third = result.candidates
    assert result.baseline is first
    assert (first.bundle.name, third.bundle.name) == ("toy-onnx-fp32", "toy-openvino-fp32")
    assert [c.runtime.name for c in result.candidates] == ["onnxruntime"] * 2 + ["openvino"]
    assert first.runtime.executed_precision.operators == {"f32": 2}
    assert second.runtime.executed_precision.operators == {"f32": 42}
    assert first.against_baseline is None
    assert result.host.facts.logical_cores == os.cpu_count()
    assert (result.rounds, result.fresh) == (6, False)


def test_every_round_counts_and_all_queries_are_pooled(compared):
    for one in compared[0].candidates:
        assert len(one.round_ms) == 6
        assert 2 * 6 * 2 <= one.latency_ms.n <= 2 * 6 * 100
        assert one.latency_ms.min <= min(one.round_ms) <= max(one.round_ms) <= one.latency_ms.max
        assert one.parity.max_abs_error < 1e-4


def test_a_round_has_the_percentiles_that_its_queries_carry(compared):
    # Two turns of 100 queries: enough for the 95th (130), and too few for the 99th (662).
    for one in compared[0].candidates:
        assert list(one.round_percentiles_ms) == ["p90", "p95"]
        assert one.rounds_of("p99") is None
        rows = zip(one.round_percentiles_ms["p90"], one.round_percentiles_ms["p95"], strict=True)
        assert all(p90 <= p95 <= one.latency_ms.max for p90, p95 in rows)
        assert len(one.round_percentiles_ms["p90"]) == 6


def test_progress_is_told_as_it_is_made(compared):
    loading, rounds = compared[1][:3], compared[1][3:]
    assert [(m["step"], m["number"], m["of"]) for m in loading] == [
        ("loading", i, 3) for i in (1, 2, 3)
    ]
    assert loading[2]["bundle"] == "toy-openvino-fp32"
    assert [(m["step"], m["number"], m["of"]) for m in rounds] == [
        ("round", i, 6) for i in range(1, 7)
    ]


def test_a_comparison_goes_through_a_file_unchanged(compared, tmp_path):
    write_comparison(tmp_path / "c.json", compared[0])
    assert read_comparison(tmp_path / "c.json") == compared[0]


def test_a_bundle_against_itself_is_neither_faster_nor_slower_in_fresh_processes(onnx_bundle):
    # Right in 19 of 20 on a steady machine; that three in a row are wrong is a fault.
    for _ in range(3):
        launched = []
        both = compare([onnx_bundle] * 2, options=FRESH, on_progress=partial(look_at, launched))
        ratio = both.candidates[1].against_baseline
        assert both.fresh
        # Each round's two, seen as it begins.
        assert len(set().union(*launched)) == 2 * 6
        if ratio.verdict == "no difference":
            assert ratio.low <= 1 <= ratio.high
            return
    pytest.fail(f"a bundle is said to differ from itself: {ratio}")


@pytest.mark.slow
def test_rounds_that_were_done_before_a_cut_are_not_timed_again(
    onnx_bundle, openvino_bundle, tmp_path
):
    path, bundles = tmp_path / "c.journal", [onnx_bundle, openvino_bundle]

    def kill_in_the_third(message):
        if message["step"] == "round" and message["number"] == 3:
            os.kill(max(workers()), signal.SIGKILL)

    with pytest.raises(HostError, match="the 2 rounds timed until then are kept"):
        compare(bundles, options=FRESH, on_progress=kill_in_the_third, journal=path)
    began = json.loads(path.read_text().splitlines()[0])["begun_at"]
    told = []
    found = compare(bundles, options=FRESH, on_progress=told.append, journal=path)
    assert [m["number"] for m in told if m["step"] == "round"] == [3, 4, 5, 6]
    assert [len(one.round_ms) for one in found.candidates] == [6, 6]
    assert found.started_at == began
    kept = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert [one["kind"] for one in kept] == ["rounds"] * 6
    # Of another comparison nothing is taken.
    other = []
    more = replace(FRESH, queries=50)
    compare(bundles, options=more, on_progress=other.append, journal=path)
    assert [m["number"] for m in other if m["step"] == "round"] == [1, 2, 3, 4, 5, 6]


def test_a_worker_that_is_killed_half_way_is_named_and_takes_the_others_with_it(
    onnx_bundle, openvino_bundle
):
    pids = []

    def kill_the_second(message):
        if message["step"] == "round" and message["number"] == 3:
            pids.extend(sorted(workers()))
            os.kill(pids[-1], signal.SIGKILL)

    with pytest.raises(HostError, match=r"^local \(openvino.*SIGKILL") as caught:
        compare([onnx_bundle, openvino_bundle], options=SHARED, on_progress=kill_the_second)
    assert "\n" not in str(caught.value)
    assert len(pids) == 2
    for pid in pids:
        # Not even as a zombie.
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_model_that_the_runtime_refuses_is_a_mismatch(onnx_bundle, openvino_bundle, reseal):
    broken = reseal(openvino_bundle, "model.xml", lambda text: text.replace(b"opset", b"apset"))
    with pytest.raises(ModelMismatchError, match=r"^local: .*model\.xml.*openvino") as caught:
        compare([onnx_bundle, broken], options=SHARED)
    assert "\n" not in str(caught.value)


def test_an_interrupt_leaves_no_process(onnx_bundle):
    def interrupt(message):
        if message["step"] == "round":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare([onnx_bundle, onnx_bundle], options=SHARED, on_progress=interrupt)


def test_what_cannot_be_compared_is_refused_before_anything_starts(onnx_bundle, tmp_path):
    with pytest.raises(UsageError, match="at least two bundles, but got 1"):
        compare([onnx_bundle])
    with pytest.raises(MissingFileError, match="nowhere"):
        compare([onnx_bundle, tmp_path / "nowhere"])
    with pytest.raises(UnknownNameError, match="telnet"):
        compare([onnx_bundle, onnx_bundle], host="telnet://pi")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("threads", 0),
        ("precision_hint", "bf16"),
        ("rounds", 5),
        ("queries", 1),
        ("max_seconds", 0.0),
        ("max_seconds", float("inf")),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_and_quoted(option, value):
    with pytest.raises(UsageError, match=str(value)):
        CompareOptions(**{option: value})


def test_all_take_turns_on_the_cores_that_were_asked_for(onnx_bundle, openvino_bundle):
    core = min(os.sched_getaffinity(0))
    options = CompareOptions(rounds=6, fresh=False, queries=5, max_seconds=1, pin=str(core))
    found = compare([onnx_bundle, openvino_bundle], options=options)
    assert [one.runtime.pinned for one in found.candidates] == [[core], [core]]
