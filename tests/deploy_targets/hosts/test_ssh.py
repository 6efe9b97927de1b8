"""Measuring behind a real SSH server: what is brought, what comes back, and links that are cut."""

import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy_targets.device.jobs import Job
from deploy_targets.hosts import open_host
from deploy_targets.measuring.compare import CompareOptions, compare
from deploy_targets.measuring.measure import MeasureOptions, measure
from foundation.bundle import MANIFEST, RuntimeRange, read_manifest, write_manifest
from foundation.errors import HostError
from foundation.files import sha256_of

QUICK = MeasureOptions(threads=1, queries=30, max_seconds=0.2)


def processes_of(device):
    """Process ids of what runs out of the device's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if f"{device.ours}/envs".encode() in words:
            found.append(int(path.parent.name))
    return found


def gone_within(device, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not processes_of(device):
            return True
        time.sleep(0.05)
    return False


def model_there(device, bundle):
    return device.ours / "bundles" / sha256_of(bundle / MANIFEST)[:32] / "model.onnx"


def long_job(bundle):
    return Job(bundle=str(bundle), runtime="onnxruntime", threads=1, queries=10**9, max_seconds=600)


def test_a_bundle_is_measured_there_as_it_is_here(device, onnx_bundle, slow_bundle, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    evaluation = tmp_path / "evaluation.npz"
    np.savez(evaluation, images=images, labels=rng.integers(0, 3, 40))
    options = replace(QUICK, evaluation=evaluation)
    there = measure(onnx_bundle, device.url, options)
    here = measure(onnx_bundle, "local", options)
    assert there.host.name == device.url
    assert there.host.facts.cpu == here.host.facts.cpu
    assert there.accuracy == here.accuracy
    assert there.parity == here.parity
    assert there.bundle == here.bundle
    # Both lie there now, and are found again.
    model, images = model_there(device, onnx_bundle), device.ours / "evaluation"
    (brought,) = images.glob(f"{sha256_of(evaluation)[:32]}/images.npz")
    before = [path.stat().st_ino for path in (model, brought)]
    measure(onnx_bundle, device.url, options)
    assert [path.stat().st_ino for path in (model, brought)] == before
    # Another bundle is judged on the same images, which are not brought for it.
    measure(slow_bundle, device.url, replace(options, queries=2))
    assert [path.name for path in images.iterdir()] == [brought.parent.name]
    assert brought.stat().st_ino == before[1]


def test_bundles_take_turns_there(device, onnx_bundle):
    shared = CompareOptions(threads=1, rounds=6, fresh=False, queries=2, max_seconds=0.2)
    found = compare([onnx_bundle] * 2, device.url, shared)
    assert found.host.name == device.url
    assert gone_within(device, 10)


def test_a_bundle_that_was_changed_on_the_device_is_brought_again(device, onnx_bundle):
    measure(onnx_bundle, device.url, QUICK)
    model = model_there(device, onnx_bundle)
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    measure(onnx_bundle, device.url, QUICK)
    assert model.read_bytes() == whole


def test_a_link_that_is_cut_is_one_clear_line_and_leaves_nobody_measuring(device, onnx_bundle):
    messages = open_host(device.url).stream(long_job(onnx_bundle))
    assert next(messages)["kind"] == "facts"
    assert processes_of(device)
    cutter = threading.Timer(0.3, device.cut)
    cutter.start()
    with pytest.raises(HostError, match=r"the link was lost.*run the same command again") as lost:
        list(messages)
    assert "\n" not in str(lost.value)
    assert gone_within(device, 10)
    # And the next one is as if nothing had been.
    assert measure(onnx_bundle, device.url, QUICK).latency_ms.n >= 2


def test_what_was_measured_before_a_link_was_cut_is_kept_and_the_same_call_goes_on(
    device, slow_bundle, tmp_path
):
    options = MeasureOptions(
        threads=1, queries=10**7, min_seconds=2.0, max_seconds=2.0, throughput_batch=2
    )
    cutter = threading.Timer(1.2, device.cut)

    def begin_to_cut(progress):
        if progress["step"] == "timing":
            cutter.start()

    journal = tmp_path / "toy.journal"
    with pytest.raises(HostError, match=r"link was lost.*queries timed until then are kept") as cut:
        measure(slow_bundle, device.url, options, begin_to_cut, journal)
    kept = int(re.search(r"the ([\d,]+) queries", str(cut.value))[1].replace(",", ""))
    before = journal.read_text()
    found = measure(slow_bundle, device.url, options, None, journal)
    assert journal.read_text().startswith(before)
    assert found.launches == 2
    assert found.latency_ms.n > kept > 0
    assert gone_within(device, 10)


def test_a_stream_that_nobody_listens_to_any_more_ends_the_process_there(device, onnx_bundle):
    messages = open_host(device.url).stream(long_job(onnx_bundle))
    next(messages)
    assert processes_of(device)
    messages.close()
    assert gone_within(device, 10)


def test_a_process_that_is_killed_there_is_told_from_a_link_that_is_cut(device, onnx_bundle):
    messages = open_host(device.url).stream(long_job(onnx_bundle))
    next(messages)
    for pid in processes_of(device):
        os.kill(pid, 9)
    with pytest.raises(HostError) as killed:
        list(messages)
    assert device.url in str(killed.value)
    assert gone_within(device, 10)


def test_a_device_with_the_wrong_release_of_the_runtime_is_told(device, onnx_bundle, copy_of):
    folder = copy_of(onnx_bundle)
    manifest = replace(read_manifest(folder), runtime=RuntimeRange("onnxruntime", "99"))
    write_manifest(folder, manifest)
    with pytest.raises(HostError, match=r"is for onnxruntime 99 or newer.*compress device setup"):
        measure(folder, device.url, QUICK)


def test_a_device_without_the_runtime_is_told(device, openvino_bundle):
    with pytest.raises(HostError, match=r"has no openvino yet; run `compress device setup --host"):
        measure(openvino_bundle, device.url, QUICK)
