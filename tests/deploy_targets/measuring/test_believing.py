"""A host is not believed: whatever it answers there is one line, and its journal stays good."""

import copy
import json
import math
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from deploy_targets.device.facts import collect
from deploy_targets.hosts import HOSTS, _process
from deploy_targets.hosts._process import DeviceProcess
from deploy_targets.hosts.host_names import Address
from deploy_targets.hosts.local import LocalHost
from deploy_targets.measuring.compare import (
    CompareOptions,
    compare,
    read_comparison,
    write_comparison,
)
from deploy_targets.measuring.measure import (
    MeasureOptions,
    measure,
    read_measurement,
    write_measurement,
)
from deploy_targets.remote.session import DeviceSession
from foundation.errors import CompressError, HostError

QUICK = MeasureOptions(threads=1, queries=20, min_seconds=0.0, max_seconds=0.2, throughput_batch=2)
TURNS = CompareOptions(threads=1, rounds=6, fresh=False, queries=2, max_seconds=0.2)
MISSING = object()
OTHERS = [
    MISSING, "zz", "\x1b[31mred", None, True, -1, 0, 0.5, 10**30, math.nan, math.inf, [], [1, -1],
    {"a": 1}, "x" * 100_000,
]  # fmt: skip


class Saying:
    """A host whose worker says what it was told to, whatever it is asked."""

    name = "far"

    def __init__(self, messages):
        self.messages = messages

    def facts(self):
        return collect()

    def stream(self, job):
        starting = [message for message in self.messages if message["kind"] == "started"]
        others = [message for message in self.messages if message["kind"] != "started"]
        yield from copy.deepcopy(starting if job.only_start else others)

    @contextmanager
    def serve(self, job):
        answers = copy.deepcopy(self.messages)

        class Server:
            def send(self, record):
                pass

            def receive(self, seconds=0.0):
                return answers.pop(0) if len(answers) > 1 else copy.deepcopy(answers[0])

        yield Server()


class Recorded(LocalHost):
    """This machine, of which all is kept that its workers say."""

    def __init__(self):
        super().__init__("local")
        self.said = []

    def stream(self, job):
        for message in super().stream(job):
            self.said.append(message)
            yield message


@pytest.fixture
def host():
    """Give "far" the host that stands behind it."""

    def put(one):
        HOSTS._entries["far"] = lambda _url: one

    yield put
    HOSTS._entries.pop("far", None)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "e.npz"
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(9) % 3)
    return replace(QUICK, evaluation=path)


@pytest.fixture(scope="module")
def honest(onnx_bundle, options):
    """What an honest worker of this bundle says."""
    recorded = Recorded()
    HOSTS._entries["recorded"] = lambda _url: recorded
    try:
        measure(onnx_bundle, "recorded", options)
    finally:
        del HOSTS._entries["recorded"]
    return recorded.said


@pytest.fixture
def measured(onnx_bundle, options, host, tmp_path):
    """Measure on a host that says these messages, or on this machine by the same name."""

    def run(messages=None, **more):
        one = Saying(messages)
        if messages is None:
            one = LocalHost("local")
            one.name = "far"
        host(one)
        return measure(onnx_bundle, "far", options, **more)

    return run


@pytest.fixture
def ready(honest):
    """What an honest server of the bundle says when it is ready."""
    last, startup = honest[-1], next(m for m in honest if m["kind"] == "startup")
    return {
        "kind": "ready",
        "runtime": last["runtime"],
        "parity": last["parity"],
        "startup_ms": {key: value for key, value in startup.items() if key != "kind"},
        "warmup_n": 5,
    }


SAMPLES = {"kind": "samples", "ns": [1000, 2000]}


def places(value, place=()):
    """Every place in a message, from the outside in, without its kind."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in inside:
        if key != "kind":
            yield (*place, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*place, key))


def changed(message, place, value):
    """The message with another value at a place."""
    found = inner = copy.deepcopy(message)
    for key in place[:-1]:
        inner = inner[key]
    if value is not MISSING:
        inner[place[-1]] = copy.deepcopy(value)
    else:
        del inner[place[-1]]
    return found


@pytest.mark.parametrize(
    "kind",
    ["facts", "progress", "startup", "warm", "conditions", "timed", "memory", "throughput",
     "counted", "result"],
)  # fmt: skip
def test_any_value_of_any_message_is_sense_or_one_line(kind, measured, honest, tmp_path):
    number, message = next((i, m) for i, m in enumerate(honest) if m["kind"] == kind)
    refused = 0
    for place in list(places(message))[:24]:
        for value in OTHERS:
            lie = changed(message, place, value)
            try:
                found = measured([*honest[:number], lie, *honest[number + 1 :]])
            except CompressError as error:
                refused += 1
                assert error.exit_code == HostError.exit_code
                assert str(error).startswith("far: ")
                assert str(error).isprintable()
                assert len(str(error)) < 700
            else:
                write_measurement(tmp_path / "m.json", found)
                assert read_measurement(tmp_path / "m.json") == found
    assert refused >= 5


def without(messages, journal, done):
    """What an honest worker says who was told what a journal keeps."""
    kept = journal.read_text() if journal.exists() else ""
    return [m for m in messages if m not in done or json.dumps(m) not in kept]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("counted", {"right": "zz"}),
        ("counted", {"n": 64, "right": "00" * 8}),
        ("timed", {"ns": [-5, 3]}),
        ("timed", {"span_ns": 1}),
        ("throughput", {"batch": 7}),
        ("result", {"parity": {"max_abs_error": -1.0}}),
        ("facts", {"kind": "fax"}),
        ("warm", {"n": 0}),
    ],
)
def test_a_bad_message_is_not_kept_so_an_honest_worker_can_go_on(
    kind, change, measured, honest, tmp_path
):
    journal = tmp_path / "far.journal"
    lies = [{**message, **(change if message["kind"] == kind else {})} for message in honest]
    with pytest.raises(HostError, match=r"^far: .*answers otherwise than this version"):
        measured(lies, journal=journal)
    remarks = []
    # What was not kept is done again.
    done = [m for m in honest if m["kind"] in {"timed", "throughput", "counted"}]
    found = measured(without(honest, journal, done), journal=journal, remark=remarks.append)
    assert found.accuracy.n == 9
    assert remarks == []


@pytest.mark.parametrize("kind", ["startup", "warm", "conditions", "timed", "memory", "throughput"])
def test_a_result_without_what_must_come_before_it_is_refused(kind, measured, honest):
    with pytest.raises(HostError, match=f"there was no '{kind}'|queries must be at least 2"):
        measured([message for message in honest if message["kind"] != kind])


def test_messages_out_of_turn_are_refused(measured, honest):
    for messages in ([honest[0], *honest], honest[1:]):
        with pytest.raises(HostError, match="out of turn"):
            measured(messages)


def cut_before(kind, messages):
    return messages[: [message["kind"] for message in messages].index(kind)]


@pytest.mark.parametrize(
    "line", ['{"kind": "counted", "right": "zz", "n": 9}', '{"kind": "warm"}', '{"kind": "fax"}']
)
def test_a_journal_that_keeps_what_no_worker_sends_is_left_out_and_said(
    line, measured, honest, tmp_path
):
    journal, remarks = tmp_path / "far.journal", []
    with pytest.raises(HostError, match="without a result"):
        measured(cut_before("throughput", honest), journal=journal)
    journal.write_text(journal.read_text() + line + "\n")
    found = measured(honest, journal=journal, remark=remarks.append)
    assert found.launches == 1
    assert str(journal) in remarks[0]
    assert "left out" in remarks[0]


def test_what_is_no_message_ends_a_journal_as_a_torn_line_does(measured, honest, tmp_path):
    journal, remarks = tmp_path / "far.journal", []
    with pytest.raises(HostError, match="without a result"):
        measured(cut_before("throughput", honest), journal=journal)
    journal.write_text(journal.read_text() + "[]\n")
    assert measured(journal=journal, remark=remarks.append).launches == 2
    assert remarks == []


@pytest.mark.parametrize("head", ["", "[]", '{"job": 1}', '{"begun_at": 5}'])
def test_a_journal_with_a_head_of_another_kind_is_begun_anew(head, measured, honest, tmp_path):
    journal = tmp_path / "far.journal"
    journal.write_text(head + "\n" + json.dumps(honest[0]) + "\n")
    assert measured(honest, journal=journal).launches == 1


def test_nothing_is_written_through_a_link_in_the_place_of_a_journal(measured, honest, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "far.journal").symlink_to(precious)
    measured(honest, journal=tmp_path / "far.journal")
    assert precious.read_text() == "mine"


def started(load, peak):
    return {
        "kind": "started",
        "startup_ms": {"import": 1.0, "load": load, "first_inference": 1.0},
        "memory_mb": {"before_load": 10.0, "steady": peak, "peak": peak},
    }


def test_where_there_is_time_further_processes_start_and_each_is_a_look(
    onnx_bundle, options, honest, host
):
    host(Saying([*honest, started(8.0, 90.0)]))
    found = measure(onnx_bundle, "far", replace(options, max_seconds=20.0))
    assert found.launches == 1
    assert len(found.starts) == 7
    assert found.starts[0].startup_ms == found.startup_ms
    assert found.starts[0].memory_mb == found.memory_mb
    assert [one.startup_ms.total for one in found.starts[1:]] == [10.0] * 6
    assert len(measure(onnx_bundle, "far", options).starts) == 1


def test_a_start_that_cannot_be_is_refused_and_the_measurement_goes_on_from_its_result(
    onnx_bundle, options, honest, host, tmp_path
):
    journal, longer = tmp_path / "far.journal", replace(options, max_seconds=20.0)
    host(Saying([*honest, started(-8.0, 90.0)]))
    with pytest.raises(HostError, match=r"started: .*load must be at least 0"):
        measure(onnx_bundle, "far", longer, journal=journal)
    host(Saying([started(8.0, 90.0)]))
    assert len(measure(onnx_bundle, "far", longer, journal=journal).starts) == 7


@pytest.mark.parametrize("kind", ["ready", "samples"])
def test_any_value_of_a_servers_answers_is_sense_or_one_line(
    kind, onnx_bundle, ready, host, tmp_path
):
    message = ready if kind == "ready" else SAMPLES
    for place in places(message):
        for value in OTHERS[:12]:
            lie = changed(message, place, value)
            host(Saying([lie, SAMPLES] if kind == "ready" else [ready, lie]))
            try:
                found = compare([onnx_bundle] * 2, "far", TURNS)
            except CompressError as error:
                assert error.exit_code == HostError.exit_code
                assert str(error).isprintable()
            else:
                write_comparison(tmp_path / "c.json", found)
                assert read_comparison(tmp_path / "c.json") == found


def test_rounds_that_no_comparison_kept_are_left_out_and_said(onnx_bundle, ready, host, tmp_path):
    journal, remarks = tmp_path / "far.journal", []
    host(Saying([ready, SAMPLES]))
    compare([onnx_bundle] * 2, "far", TURNS, journal=journal)
    head, _ = journal.read_text().splitlines()
    for bad in ('{"kind": "rounds"}', '{"kind": "rounds", "turns": [[[-1]]], "ready": []}'):
        journal.write_text(f"{head}\n{bad}\n")
        compare([onnx_bundle] * 2, "far", TURNS, journal=journal, remark=remarks.append)
    assert len(remarks) == 2
    assert "left out" in remarks[0]


def asked(code, ask):
    """Ask an agent whose answers are what `code` prints for each line that it reads."""
    program = f"import sys\nfor line in sys.stdin:\n    print({code!r}, flush=True)\n"
    process = DeviceProcess([sys.executable, "-c", program], "ssh://far")
    try:
        return ask(DeviceSession(Address("ssh://far", "far"), process))
    finally:
        process.close()


DEVICE = {
    "kind": "done", "folder": "/home/pi/ours", "machine": "m", "arch": "aarch64",
    "libc": "glibc 2.36", "python": "3.11.2", "executable": "/usr/bin/python3", "bits": 64,
    "has_pip": False, "free_mb": 100.0, "clock": 1.0, "envs": {}, "code": [], "bundles": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"libc": "glibc 2.400000000"},
        {"libc": "\x1b[31m"},
        {"python": "3"},
        {"python": "3.11 --index-url=x"},
        {"arch": "aarch64 --x"},
        {"folder": "elsewhere"},
        {"bits": 7},
        {"free_mb": -1.0},
        {"envs": {"onnxruntime": []}},
        {"envs": {"onnxruntime": {"versions": []}}},
        {"kind": "fine"},
    ],
)
def test_what_a_device_says_of_itself_is_checked(change):
    with pytest.raises(HostError, match=r"^ssh://far: ") as refused:
        asked(json.dumps({**DEVICE, **change}), lambda session: session.device)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


def test_an_endless_line_ends_within_bounds(monkeypatch):
    monkeypatch.setattr(_process, "LONGEST_LINE", 1 << 16)
    process = DeviceProcess(["cat", "/dev/zero"], "far")
    with pytest.raises(HostError, match="says more than one that measures"):
        process.receive(60)
    process.close()


def test_endless_lines_end_within_bounds(monkeypatch):
    monkeypatch.setattr(_process, "_MOST_LINES", 100)
    process = DeviceProcess(["yes", '{"kind": "progress"}'], "far")
    with pytest.raises(HostError, match="101 lines"):
        for _ in range(200):
            process.receive(60)
    process.close()


def test_of_endless_errors_the_beginning_and_the_end_are_kept():
    code = "import sys; sys.stderr.write('first ' + 'x' * 3_000_000 + '\\nlast'); sys.exit(3)"
    process = DeviceProcess([sys.executable, "-c", code], "far")
    with pytest.raises(HostError, match="its last words: last"):
        process.receive(60)
    assert process._errors.text().startswith("first xx")
    assert len(process._errors.text()) < 100_000
    process.close()
