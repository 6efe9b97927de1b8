"""Hosts: how they are named, and what becomes of a measuring process that goes wrong."""

import os
import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_targets.device.facts import collect
from deploy_targets.device.jobs import Job, ServerJob, Turn
from deploy_targets.hosts import HOSTS, open_host
from deploy_targets.hosts._process import serve_job, stream_job
from deploy_targets.hosts.answers import error_of
from deploy_targets.measuring.compare import CompareOptions, compare
from deploy_targets.measuring.measure import MeasureOptions, measure
from foundation.errors import HostError, UnknownNameError, process_output_of

JOB = Job(bundle="toy", runtime="onnxruntime")
SERVER_JOB = ServerJob(bundle="toys/toy", runtime="onnxruntime")


def stream(code):
    """Messages of a process that runs `code` in the place of a worker."""
    return stream_job([sys.executable, "-c", code], JOB, "toy-host")


def failure(code):
    with pytest.raises(HostError) as caught:
        list(stream(code))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("toy-host: ")
    return str(caught.value)


def test_local_is_this_machine():
    host = open_host("local")
    assert host.name == "local"
    assert host.facts().logical_cores >= 1
    assert "local" in HOSTS.names()


def test_an_unknown_scheme_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"telnet://pi.*unknown host 'telnet'.*local"):
        open_host("telnet://pi")


def test_local_takes_no_address():
    with pytest.raises(HostError, match="local://there"):
        open_host("local://there")


def test_the_job_goes_in_and_messages_come_out_up_to_the_last():
    code = (
        "import json, sys\n"
        "job = json.load(sys.stdin)\n"
        "print(json.dumps({'kind': 'progress', 'step': job['bundle']}))\n"
        "print(json.dumps({'kind': 'result'}))\n"
        "print('and then some')\n"
    )
    assert list(stream(code)) == [{"kind": "progress", "step": "toy"}, {"kind": "result"}]


def test_a_process_that_is_killed_is_named_with_its_signal():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    assert "SIGSEGV" in failure(code)


def test_a_process_that_dies_leaves_its_last_words():
    message = failure("import sys; sys.exit('first\\nno numpy here\\n')")
    assert "exit code 1" in message
    assert message.endswith("its last words: no numpy here")


def test_a_process_that_says_nothing_is_said_to_have_said_nothing():
    assert failure("pass").endswith("it said nothing")


@pytest.mark.parametrize(
    "ending",
    [
        "sys.exit(3)",
        'print(json.dumps({"kind": "error", "message": "no", "stderr": "a lie"}))',
        "print('Welcome')",
    ],
)
def test_what_it_wrote_to_standard_error_goes_with_the_error(ending):
    code = f"import json, sys; print('first\\nlast', file=sys.stderr, flush=True); {ending}"
    with pytest.raises(HostError) as caught:
        for message in stream(code):
            raise error_of(message, "toy-host")
    assert process_output_of(caught.value) == "first\nlast\n"
    try:
        raise HostError("it failed") from caught.value
    except HostError as error:
        assert process_output_of(error) == "first\nlast\n"


@pytest.mark.parametrize("line", ["Welcome to this machine!", "[1]", '{"step": 1}'])
def test_lines_that_are_no_messages_are_quoted(line):
    assert line in failure(f"print('{line}')")


def test_much_talk_on_standard_error_does_not_block():
    code = "import sys; sys.stderr.write('x' * 1_000_000); print('{\"kind\": \"result\"}')"
    assert list(stream(code)) == [{"kind": "result"}]


def test_closing_the_stream_ends_the_process():
    messages = stream(
        "import os, time\n"
        'print(\'{"kind": "progress", "pid": %d}\' % os.getpid(), flush=True)\n'
        "time.sleep(600)\n"
    )
    pid = next(messages)["pid"]
    messages.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_hears_records_and_answers_until_it_is_left():
    code = (
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    asked = json.loads(line)\n"
        "    print(json.dumps({'kind': 'heard', 'pid': os.getpid(), 'asked': asked}), flush=True)\n"
    )
    with serve_job([sys.executable, "-c", code], SERVER_JOB, "toy-host") as server:
        assert server.receive(60)["asked"]["bundle"] == "toys/toy"
        server.send(Turn(3, 0.5))
        answer = server.receive(60)
        assert answer["asked"] == {"queries": 3, "max_seconds": 0.5}
    with pytest.raises(ProcessLookupError):
        os.kill(answer["pid"], 0)


def test_a_server_that_does_not_answer_in_time_is_killed_and_named():
    code = "import time; time.sleep(600)"
    with (
        serve_job([sys.executable, "-c", code], SERVER_JOB, "toy-host") as server,
        pytest.raises(HostError, match=r"^toy-host \(toy\): .*did not answer within 1 s"),
    ):
        server.receive(1)


def test_a_server_that_is_gone_is_noticed_when_it_is_listened_to():
    with serve_job([sys.executable, "-c", "pass"], SERVER_JOB, "toy-host") as server:
        with pytest.raises(HostError, match=r"^toy-host \(toy\): .*exit code 0"):
            server.receive(60)
        server.send(Turn(3, 0.5))


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(HostError, match="cannot start no-such-command"):
        list(stream_job(["no-such-command"], JOB, "toy-host"))


def test_a_host_that_keeps_its_files_elsewhere_is_one_registered_class(onnx_bundle, tmp_path):
    class Elsewhere:
        def __init__(self, url):
            self.name = url

        def facts(self):
            return collect()

        def stream(self, job):
            there = Path(shutil.copytree(job.bundle, tmp_path / "there" / "bundle"))
            yield from stream_job(
                [sys.executable, "-m", job.process], replace(job, bundle=str(there)), self.name
            )

        @contextmanager
        def serve(self, job):
            there = Path(shutil.copytree(job.bundle, tmp_path / "there" / str(time.time_ns())))
            moved = replace(job, bundle=str(there))
            with serve_job([sys.executable, "-m", job.process], moved, self.name) as server:
                yield server

    HOSTS.register("elsewhere")(Elsewhere)
    try:
        quick = MeasureOptions(threads=1, queries=10, max_seconds=0.2)
        result = measure(onnx_bundle, host="elsewhere://shelf", options=quick)
        shared = CompareOptions(threads=1, rounds=6, fresh=False, queries=2, max_seconds=0.2)
        both = compare([onnx_bundle] * 2, host="elsewhere://shelf", options=shared)
    finally:
        del HOSTS._entries["elsewhere"]
    assert result.host.name == both.host.name == "elsewhere://shelf"
    assert (tmp_path / "there" / "bundle" / "bundle.json").is_file()
