"""Whole measurements of toy bundles, on this machine, in real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from processes import children_of

from deploy_targets.measuring.measure import (
    MeasureOptions,
    measure,
    read_measurement,
    write_measurement,
)
from foundation.bundle import RuntimeRange, open_bundle, read_manifest, write_manifest
from foundation.errors import (
    CorruptFileError,
    DataLayoutError,
    HostError,
    MissingFileError,
    UnknownNameError,
    UsageError,
)
from foundation.files import sha256_of

# Enough queries for a p95.
QUICK = MeasureOptions(threads=1, queries=140, min_seconds=0.0, max_seconds=0.5, throughput_batch=4)


@pytest.fixture(scope="module")
def measured(onnx_bundle):
    return measure(onnx_bundle, options=QUICK)


def in_fresh_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_the_measurement_says_what_was_measured(measured, onnx_bundle):
    assert measured.bundle.name == "toy-onnx-fp32"
    assert (measured.bundle.role, measured.bundle.target) == ("student", "local")
    assert measured.bundle.model_bytes == (onnx_bundle / "model.onnx").stat().st_size
    assert measured.bundle.manifest_sha256 == sha256_of(onnx_bundle / "bundle.json")


def test_the_measurement_says_where_and_with_what(measured):
    assert measured.host.name == "local"
    assert measured.host.facts.logical_cores == os.cpu_count()
    assert (measured.runtime.name, measured.runtime.threads) == ("onnxruntime", 1)
    assert measured.runtime.executed_precision.summary == "f32"


def test_latency_is_ordered_and_counted(measured):
    latency = measured.latency_ms
    assert 2 <= latency.n <= QUICK.queries
    assert latency.warmup_n >= 1
    assert 0 < latency.min <= latency.p50 <= latency.p90 <= latency.p95 <= latency.max
    assert latency.min <= latency.mean <= latency.max


def test_the_rest_of_the_measurement_is_there(measured):
    assert measured.throughput.batch == 4
    assert measured.throughput.images_per_s > 0
    assert measured.memory_mb.peak > measured.memory_mb.before_load > 0
    assert measured.startup_ms.import_ > 0
    assert measured.startup_ms.load > 0
    assert measured.startup_ms.first_inference > 0
    assert measured.parity.n == 5
    assert measured.parity.max_abs_error < 1e-4
    assert measured.parity.top1_agreement == 1.0
    assert measured.accuracy is None
    assert measured.seconds > 0
    assert datetime.fromisoformat(measured.started_at).utcoffset() == timedelta(0)


def test_a_measurement_goes_through_a_file_unchanged(measured, tmp_path):
    write_measurement(tmp_path / "bench" / "toy@local.json", measured)
    assert read_measurement(tmp_path / "bench" / "toy@local.json") == measured


def test_openvino_is_measured_in_the_precision_that_was_asked_for(openvino_bundle):
    result = measure(openvino_bundle, options=QUICK)
    assert result.runtime.name == "openvino"
    assert result.runtime.precision_hint == "f32"
    assert result.runtime.executed_precision.summary == "f32"
    assert result.parity.max_abs_error < 1e-4


def test_an_int8_bundle_is_seen_to_run_in_8_bits_and_to_differ(int8_bundle):
    result = measure(int8_bundle, options=QUICK)
    assert result.runtime.executed_precision.summary == "int8"
    assert result.parity.max_abs_error > 1e-4
    assert result.parity.relative_error < 0.1


def test_a_bf16_bundle_is_run_as_it_says_and_what_ran_is_recorded(openvino_bf16_bundle):
    result = measure(openvino_bf16_bundle, options=QUICK)
    assert result.bundle.precision == "bf16"
    assert result.runtime.precision_hint == "bf16"
    assert result.runtime.executed_precision.summary in {"bf16", "f32"}
    left_to_itself = measure(openvino_bf16_bundle, options=replace(QUICK, precision_hint="auto"))
    assert left_to_itself.runtime.precision_hint == "auto"


@pytest.mark.parametrize("fixture", ["embedded_bundle", "openvino_embedded_bundle"])
def test_a_bundle_with_embedded_preprocessing_is_given_raw_images(fixture, request, tmp_path):
    folder = request.getfixturevalue(fixture)
    images, logits = open_bundle(folder).probe()
    np.savez(tmp_path / "e.npz", images=images, labels=logits.argmax(1))
    result = measure(folder, options=replace(QUICK, evaluation=tmp_path / "e.npz"))
    assert result.parity.max_abs_error < 1e-4
    assert (result.accuracy.top1, result.accuracy.n) == (1.0, 5)


def test_a_host_with_another_release_than_the_bundle_is_for_is_refused(onnx_bundle, copy_of):
    folder = copy_of(onnx_bundle)
    future = RuntimeRange("onnxruntime", "99.1")
    write_manifest(folder, replace(read_manifest(folder), runtime=future))
    with pytest.raises(HostError, match=r"^local: .*is for onnxruntime 99\.1 or newer, but"):
        measure(folder, options=QUICK)


def test_accuracy_is_measured_on_the_evaluation_file(onnx_bundle, tmp_path):
    images, logits = open_bundle(onnx_bundle).probe()
    # 100 images need two batches; the first ten labels are moved to a class that is wrong.
    images, labels = np.tile(images, (20, 1, 1, 1)), np.tile(logits.argmax(1), 20)
    labels[:10] = (labels[:10] + 1) % 3
    np.savez(tmp_path / "e.npz", images=images, labels=labels)
    result = measure(onnx_bundle, options=replace(QUICK, evaluation=tmp_path / "e.npz"))
    assert (result.accuracy.top1, result.accuracy.n) == (0.9, 100)


def test_progress_is_told_step_by_step(onnx_bundle):
    seen = []
    measure(onnx_bundle, options=QUICK, on_progress=seen.append)
    assert [message["step"] for message in seen] == [
        "loading",
        "warming up",
        "timing",
        "throughput",
        "checking",
    ]
    assert {message["of"] for message in seen} == {5}


def test_the_peak_is_the_workers_own_and_not_inherited(onnx_bundle):
    ballast = np.ones(300 * 2**20 // 8)
    peak = measure(onnx_bundle, options=QUICK).memory_mb.peak
    assert peak < ballast.nbytes / 2**20


def test_a_file_in_the_current_folder_does_not_stand_in_for_a_library(
    onnx_bundle, tmp_path, monkeypatch
):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    assert measure(onnx_bundle, options=QUICK).parity.n == 5


def test_a_changed_bundle_is_not_measured(onnx_bundle, copy_of):
    folder = copy_of(onnx_bundle)
    (folder / "probe.npz").write_bytes(b"other")
    with pytest.raises(CorruptFileError, match=r"probe\.npz"):
        measure(folder, options=QUICK)


def test_a_missing_bundle_or_evaluation_file_is_named(onnx_bundle, tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        measure(tmp_path / "nowhere", options=QUICK)
    with pytest.raises(MissingFileError, match=r"none\.npz"):
        measure(onnx_bundle, options=replace(QUICK, evaluation=tmp_path / "none.npz"))


def test_an_error_on_the_device_keeps_its_kind_and_names_the_host(onnx_bundle, tmp_path):
    np.savez(tmp_path / "e.npz", images=np.zeros((2, 8, 8, 3), np.uint8), labels=[0])
    with pytest.raises(DataLayoutError, match=r"^local: .*e\.npz") as caught:
        measure(onnx_bundle, options=replace(QUICK, evaluation=tmp_path / "e.npz"))
    assert "\n" not in str(caught.value)


def test_a_runtime_that_is_not_installed_is_one_line_that_says_how_to_get_it(
    openvino_bundle, shadowed
):
    shadowed("openvino", "raise ModuleNotFoundError(\"No module named 'openvino'\")")
    with pytest.raises(HostError, match=r"^local: .*pip install openvino") as caught:
        measure(openvino_bundle, options=QUICK)
    assert "\n" not in str(caught.value)


def test_a_worker_that_crashes_is_one_line_that_names_the_signal(onnx_bundle, shadowed):
    shadowed("onnxruntime", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(HostError, match=r"^local: .*SIGSEGV") as caught:
        measure(onnx_bundle, options=QUICK)
    assert "\n" not in str(caught.value)


def test_a_bundle_in_a_format_without_runtime_is_refused(onnx_bundle, copy_of):
    manifest = copy_of(onnx_bundle) / "bundle.json"
    manifest.write_text(manifest.read_text().replace('"format": "onnx"', '"format": "onx"'))
    with pytest.raises(UnknownNameError, match="did you mean 'onnx'"):
        measure(manifest.parent, options=QUICK)


def test_an_unknown_host_is_refused(onnx_bundle):
    with pytest.raises(UnknownNameError, match="telnet"):
        measure(onnx_bundle, host="telnet://pi", options=QUICK)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("threads", 0),
        ("precision_hint", "bf16"),
        ("queries", 1),
        ("max_seconds", 0.0),
        ("max_seconds", float("nan")),
        ("throughput_batch", 0),
        ("min_seconds", -1.0),
        ("batch", 0),
        ("streams", 0),
        ("streams", 3),
        ("rate", 7.0),
        ("pin", "3-1"),
        ("pin", "one"),
        ("percentiles", [100.0]),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_and_quoted(option, value):
    quoted = (
        f"{value[0]:g}" if isinstance(value, list) else f"{value:g}" if option == "rate" else value
    )
    with pytest.raises(UsageError, match=str(quoted)):
        MeasureOptions(**{option: value})


class TestJournal:
    """A measurement that is cut in the middle goes on where it was."""

    LONG = replace(QUICK, min_seconds=1.6, max_seconds=30.0)

    @staticmethod
    def parts(journal):
        text = journal.read_text() if journal.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line)["ns"] for line in lines if line.startswith('{"kind": "timed"')]

    def cut(self, bundle, journal, whom):
        """Kill the measuring side or the worker with SIGKILL as soon as a part has come."""
        code = (
            "import sys\nfrom pathlib import Path\nfrom deploy_targets.measuring.measure import *\n"
            "o = MeasureOptions(threads=1, queries=140, min_seconds=1.6, max_seconds=30.0,"
            " throughput_batch=4)\n"
            "measure(Path(sys.argv[1]), options=o, journal=Path(sys.argv[2]))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(bundle), str(journal)], stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        before = len(self.parts(journal))
        while len(self.parts(journal)) <= before:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        if whom == "worker":
            (worker,) = children_of(process.pid)
            os.kill(worker, signal.SIGKILL)
        else:
            process.kill()
        said = process.communicate()[1]
        return process.returncode, said

    def test_either_side_may_be_killed_and_what_was_timed_is_kept(self, slow_bundle, tmp_path):
        journal = tmp_path / "toy.journal"
        code, said = self.cut(slow_bundle, journal, "worker")
        assert code == 1
        assert "SIGKILL" in said
        assert "are kept, the same call goes on" in said
        (first,) = self.parts(journal)
        code, _ = self.cut(slow_bundle, journal, "measurer")
        assert code == -signal.SIGKILL
        kept = self.parts(journal)
        assert kept[0] == first
        assert len(kept) >= 2
        whole = measure(slow_bundle, options=self.LONG, journal=journal)
        assert whole.launches == 3
        every = self.parts(journal)
        assert every[: len(kept)] == kept
        assert whole.latency_ms.n == sum(map(len, every))
        # A fourth call finds it whole, and starts nothing.
        assert measure(slow_bundle, options=self.LONG, journal=journal).launches == 3

    def test_other_options_begin_anew(self, onnx_bundle, tmp_path):
        measure(onnx_bundle, options=QUICK, journal=tmp_path / "j")
        again = measure(onnx_bundle, options=replace(QUICK, queries=150), journal=tmp_path / "j")
        assert (again.launches, again.latency_ms.n) == (1, 150)


@pytest.mark.parametrize(
    ("scenario", "more"),
    [
        ("multi-stream", {"streams": 2}),
        ("offline", {"streams": 2, "batch": 8}),
        ("server", {"rate": 400.0}),
    ],
)
@pytest.mark.parametrize("fixture", ["onnx_bundle", "openvino_bundle"])
def test_each_scenario_is_measured_and_recorded(scenario, more, fixture, request):
    options = replace(QUICK, scenario=scenario, queries=40, **more)
    found = measure(request.getfixturevalue(fixture), options=options)
    assert found.scenario.name == scenario
    assert {name: getattr(found.scenario, name) for name in more} == more
    assert found.latency_ms.n >= 40
    assert found.parity.max_abs_error < 1e-4
    assert found.throughput.low <= found.throughput.images_per_s <= found.throughput.high
    assert found.throughput.batch == (8 if scenario == "offline" else 4)


def test_a_server_needs_a_rate_and_a_percentile_its_queries():
    with pytest.raises(UsageError, match="Give a rate"):
        MeasureOptions(scenario="server")
    with pytest.raises(UnknownNameError, match="did you mean 'offline'"):
        MeasureOptions(scenario="ofline")
    assert MeasureOptions().needed_queries == 1000
    assert MeasureOptions(percentiles=[99.9]).needed_queries == 6636
    assert MeasureOptions(queries=12).needed_queries == 12


def test_a_runtime_for_another_format_is_wrong_use(onnx_bundle):
    with pytest.raises(UsageError, match="takes models of format openvino"):
        measure(onnx_bundle, options=replace(QUICK, runtime="openvino"))


def test_the_machine_is_looked_at_before_during_and_after(measured):
    assert [one.at for one in measured.conditions] == ["before", "during", "after"]
    assert measured.validity.verdict in {"valid", "suspect"}
    assert (measured.validity.verdict == "suspect") == bool(measured.validity.reasons)
    assert measured.launches == 1


def test_importing_measure_brings_no_heavy_library():
    loaded = in_fresh_python(
        "import sys, deploy_targets.measuring.measure, deploy_targets.measuring.compare\n"
        "import deploy_targets.targets\n"
        "deploy_targets.targets.load_target('local').formats\n"
        "heavy = ['torch', 'onnx', 'onnxruntime', 'openvino', 'nncf', 'psutil', 'cpuinfo',\n"
        "         'typer', 'rich', 'pydantic', 'pipeline', 'export', 'smskd']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_the_device_side_imports_where_only_python_and_numpy_are():
    imported = in_fresh_python(
        "import sys, pkgutil, importlib\n"
        "for name in ['psutil', 'cpuinfo', 'torch', 'onnx', 'onnxruntime', 'openvino', 'nncf',\n"
        "             'deploy_targets.hosts', 'deploy_targets.targets']:\n"
        "    sys.modules[name] = None\n"
        "import deploy_targets.device as device\n"
        "names = [m.name for m in pkgutil.walk_packages(device.__path__, device.__name__ + '.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))"
    )
    assert int(imported) >= 10
