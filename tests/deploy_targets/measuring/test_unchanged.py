"""What was measured is what was checked, though a bundle's files are read once for it."""

import json
import os
import shutil
from dataclasses import replace

import pytest

from deploy_targets.measuring.compare import CompareOptions, compare
from deploy_targets.measuring.measure import MeasureOptions, measure
from foundation.bundle import checksums, open_bundle, read_manifest, write_manifest
from foundation.digests import settle
from foundation.errors import CorruptFileError, MissingFileError
from foundation.packing import opened, pack

TURNS = CompareOptions(threads=1, rounds=6, queries=5, max_seconds=1)
SHARED = replace(TURNS, fresh=False)
QUICK = MeasureOptions(threads=1, queries=20, min_seconds=0.0, max_seconds=4, throughput_batch=2)
FILES = {"bundle.json": 1, "model.onnx": 1, "probe.npz": 1}


@pytest.fixture
def bundle(onnx_bundle, tmp_path):
    """A bundle of one's own, that has lain there for a while."""
    folder = shutil.copytree(onnx_bundle, tmp_path / "mine")
    settle(max(folder.iterdir(), key=lambda path: path.stat().st_ctime_ns))
    return folder


@pytest.fixture
def other(bundle, tmp_path):
    """The same again."""
    folder = shutil.copytree(bundle, tmp_path / "other")
    settle(max(folder.iterdir(), key=lambda path: path.stat().st_ctime_ns))
    return folder


def flipped(content):
    """With other weights, and as long."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def change_in_place(folder):
    model = folder / "model.onnx"
    model.write_bytes(flipped(model.read_bytes()))


def change_and_put_the_time_back(folder):
    dated = (folder / "model.onnx").stat()
    change_in_place(folder)
    os.utime(folder / "model.onnx", ns=(dated.st_atime_ns, dated.st_mtime_ns))


def put_another_in_its_place(folder):
    model, new = folder / "model.onnx", folder.with_name("new.onnx")
    new.write_bytes(flipped(model.read_bytes()))
    os.utime(new, ns=(model.stat().st_atime_ns, model.stat().st_mtime_ns))
    new.replace(model)


def make_another_bundle(folder):
    """One that is whole, and is not what was opened."""
    manifest = read_manifest(folder)
    change_in_place(folder)
    write_manifest(folder, replace(manifest, files=checksums(folder)))


CHANGES = [change_in_place, change_and_put_the_time_back, put_another_in_its_place]


def before_round(number, act):
    def look(message):
        if message["step"] == "round" and message["number"] == number:
            act()

    return look


def test_each_file_is_read_once_for_all_rounds(bundle, other, times_hashed):
    compare([bundle, other], options=TURNS)
    assert times_hashed(bundle) == times_hashed(other) == FILES


def test_each_file_is_read_once_for_a_measurement_and_all_its_starts(bundle, times_hashed):
    # Offline there is no throughput to be measured besides, and there is time for starts.
    measured = measure(bundle, options=replace(QUICK, scenario="offline", max_seconds=30))
    assert len(measured.starts) > 1
    assert times_hashed(bundle) == FILES


def test_a_bundle_that_is_open_is_not_read_again(bundle, other, times_hashed):
    both = [open_bundle(bundle), open_bundle(other)]
    found = compare(both, options=SHARED)
    assert measure(both[0], options=QUICK).bundle == found.candidates[0].bundle
    assert times_hashed(bundle) == times_hashed(other) == FILES


def test_a_packed_bundle_is_read_once_when_it_is_unpacked(bundle, other, tmp_path, times_hashed):
    packed = pack(other, tmp_path / "other.bundle")
    with opened(packed) as unpacked:
        folder = unpacked.folder
        compare([unpacked, bundle], options=SHARED)
        times = times_hashed(folder.parent)
    # Unpacked to a folder with a name for the time being.
    assert sorted(times.values()) == [1, 1, 1]


@pytest.mark.parametrize(("change", "which"), zip(CHANGES, [0, 1, 1], strict=True))
def test_a_model_that_is_replaced_between_rounds_is_named(bundle, other, tmp_path, change, which):
    folders, journal = [bundle, other], tmp_path / "c.journal"
    look = before_round(1, lambda: change(folders[which]))
    with pytest.raises(CorruptFileError, match=f"{folders[which].name}/model.onnx: checksum"):
        compare(folders, options=TURNS, on_progress=look, journal=journal)
    assert not journal.exists(), "when it changed nobody knows, so nothing of it counts"


@pytest.mark.parametrize("change", CHANGES[1:])
def test_a_model_that_is_replaced_when_all_are_loaded_is_named(bundle, other, tmp_path, change):
    journal = tmp_path / "c.journal"
    look = before_round(6, lambda: change(other))
    with pytest.raises(CorruptFileError, match=r"other/model\.onnx: checksum differs"):
        compare([bundle, other], options=SHARED, on_progress=look, journal=journal)
    assert not journal.exists()


def test_a_whole_bundle_in_its_place_is_another_too(bundle, other):
    look = before_round(1, lambda: make_another_bundle(other))
    with pytest.raises(CorruptFileError, match=r"other/bundle\.json: changed since"):
        compare([bundle, other], options=TURNS, on_progress=look)


@pytest.mark.parametrize(
    ("change", "step"), zip(CHANGES, ["loading", "timing", "checking"], strict=True)
)
def test_a_model_that_is_replaced_while_it_is_measured_is_named(bundle, tmp_path, change, step):
    done, journal = [], tmp_path / "m.journal"

    def look(message):
        if message["step"] == step and not done:
            done.append(step)
            change(bundle)

    with pytest.raises(CorruptFileError, match=r"mine/model\.onnx: checksum differs"):
        measure(bundle, options=QUICK, on_progress=look, journal=journal)
    assert done
    assert not journal.exists()


def test_a_file_that_is_gone_at_the_end_is_named(bundle, other):
    look = before_round(6, (other / "probe.npz").unlink)
    with pytest.raises(MissingFileError, match=r"other/probe\.npz"):
        compare([bundle, other], options=SHARED, on_progress=look)


def test_a_file_that_was_touched_is_read_again_and_found_right(
    bundle, other, tmp_path, times_hashed
):
    journal = tmp_path / "c.journal"

    class StopError(Exception):
        pass

    def stop():
        raise StopError

    with pytest.raises(StopError):
        compare([bundle, other], options=TURNS, on_progress=before_round(5, stop), journal=journal)
    assert len(journal.read_text().splitlines()) == 1 + 4
    assert "checked" not in json.loads(journal.read_text().splitlines()[0])["job"]
    touch, told = before_round(5, (other / "model.onnx").touch), []

    def touch_and_tell(message):
        touch(message)
        told.append(message)

    compare([bundle, other], options=TURNS, on_progress=touch_and_tell, journal=journal)
    assert [m["number"] for m in told if m["step"] == "round"] == [5, 6]
    assert times_hashed(bundle) == FILES
    assert times_hashed(other) == {**FILES, "model.onnx": 2}
