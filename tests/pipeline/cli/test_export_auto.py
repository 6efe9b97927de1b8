"""`compress export --precision auto` and `--max-drop`: what ships, and why."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy_targets.comparison import read_comparison, write_comparison
from foundation.bundle import open_bundle
from foundation.files import sha256_of
from pipeline.exporting.choice import Shipping, read_shipping
from pipeline.run_folder.folder import RunFolder

AUTO = ["export", "--precision", "auto", "--format", "onnx", "--no-teacher"]
ELSEWHERE = ["--target", "rpi5"]
HOSTILE = [
    "export", "hostile.safetensors", "--model", "resnet8", "--data", "digits",
    "--image-size", "16", "--format", "onnx", "--set", "data.calibration_images=48",
]  # fmt: skip
COMPRESS = str(Path(sys.executable).with_name("compress"))
PATIENCE_S = 240


def copy_of(run: RunFolder, folder: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(run.path, folder / "runs/tiny")))


def facts_of(shipping: Shipping) -> list[tuple]:
    """What does not depend on the moment in which it was found out."""
    return [
        (one.bundle, one.validation_top1, one.drop, one.drop_low, one.drop_high, one.excluded)
        for one in shipping.candidates
    ]


def written_at(run: RunFolder) -> dict[str, int]:
    folders = ("bundles", "trials")
    files = [path for name in folders for path in (run.path / name).rglob("*") if path.is_file()]
    files += [run.shipping_path, run.path / "comparison.json"]
    return {
        str(path.relative_to(run.path)): path.stat().st_mtime_ns for path in files if path.exists()
    }


def trials_told(err: str) -> list[str]:
    """A line for each trial; what is under way for long is told of besides."""
    lines = [line for line in err.splitlines() if "left at most" in line]
    return [line for line in lines if "under way for" not in line]


@dataclass(frozen=True)
class Shipped:
    """A run in which `compress export --precision auto` was called, and what it said."""

    run: RunFolder
    err: str
    content: dict


@pytest.fixture(scope="module")
def shipped(road, forked, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """For this machine, so timed; to be read, not changed."""
    folder = tmp_path_factory.mktemp("shipped")
    run = copy_of(road.run, folder)
    said = forked(*AUTO, "--json", cwd=folder)
    assert said.code == 0, said.err
    return Shipped(run, said.err, said.json())


@pytest.fixture(scope="module")
def elsewhere(road, forked, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """For a machine that is not at hand; to be read, not changed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run = copy_of(road.run, folder)
    said = forked(*AUTO, *ELSEWHERE, "--json", cwd=folder)
    assert said.code == 0, said.err
    return Shipped(run, said.err, said.json())


def test_what_ships_is_written_down_and_its_bundle_stands_and_keeps_the_limit(
    shipped: Shipped,
) -> None:
    shipping = read_shipping(shipped.run.shipping_path)
    assert (shipping.target, shipping.max_drop, shipping.measured_on) == ("local", 1.0, "local")
    assert {one.precision for one in shipping.candidates} == {"fp32", "fp16", "int8"}
    ships = shipping.ships
    assert ships.drop <= 1.0
    assert ships.p50_ms is not None
    assert shipping.chosen in shipping.reason
    for one in shipping.candidates:
        manifest = open_bundle(shipped.run.bundles / one.bundle).manifest
        assert manifest.accuracy["validation"]["top1"] == pytest.approx(one.validation_top1)
        assert (one.ratio is None) == (one.precision == "fp32")
        # As an export without a choice would have made it.
        drop = {} if one.precision == "fp32" else manifest.accuracy["drop"]
        assert drop.get("tolerated", 5.0) == 5.0
    assert shipped.content["ships"]["chosen"] == shipping.chosen


def test_every_trial_is_told_with_how_many_are_left(shipped: Shipped) -> None:
    lines = trials_told(shipped.err)
    assert len(lines) == read_shipping(shipped.run.shipping_path).trials
    assert "onnx fp32: " in lines[0]
    assert lines[0].endswith("11 left at most")
    assert lines[-1].endswith(f"{12 - len(lines)} left at most")


def test_nothing_is_left_of_the_search_but_its_finished_trials(shipped: Shipped) -> None:
    left = {path.name.partition("-")[0] for path in (shipped.run.path / "trials").iterdir()}
    assert left == {"trial"}
    assert not [path for path in shipped.run.bundles.iterdir() if path.name.startswith(".")]


def test_the_same_again_does_nothing_and_another_limit_chooses_anew(
    shipped: Shipped, forked, tmp_path: Path
) -> None:
    run = copy_of(shipped.run, tmp_path)
    before = written_at(run)
    again = forked(*AUTO, cwd=tmp_path)
    assert again.code == 0, again.err
    assert written_at(run) == before
    assert "trials" not in again.err and "left at most" not in again.err

    looser = forked(*AUTO, "--max-drop", 7.5, cwd=tmp_path)
    assert looser.code == 0, looser.err
    shipping = read_shipping(run.shipping_path)
    assert shipping.max_drop == 7.5
    assert facts_of(shipping) == facts_of(read_shipping(shipped.run.shipping_path))
    assert looser.err.count("(done before)") == shipping.trials
    after = written_at(run)
    # The bundles are the same, so they need not be timed anew.
    for name in before:
        if name.startswith("trials/") or name == "comparison.json":
            assert after[name] == before[name], name


@pytest.mark.slow
def test_exports_with_and_without_a_choice_do_not_get_into_each_others_way(
    shipped: Shipped, forked, tmp_path: Path
) -> None:
    run = copy_of(shipped.run, tmp_path)
    plain = ["export", "--format", "onnx", "--precision", "int8", "--no-teacher"]
    said = forked(*plain, cwd=tmp_path)
    assert said.code == 0, said.err
    # What was chosen from stands as it was, so the choice does too.
    assert read_shipping(run.shipping_path).chosen in {one.name for one in run.bundle_folders()}
    # Now a candidate is made in another way, and nothing is known of what ships.
    said = forked(*plain, "--embed-preprocessing", cwd=tmp_path)
    assert said.code == 0, said.err
    assert not run.shipping_path.exists()
    said = forked(*AUTO, cwd=tmp_path)
    assert said.code == 0, said.err
    again = facts_of(read_shipping(run.shipping_path))
    assert again == facts_of(read_shipping(shipped.run.shipping_path))


def test_fp32_ships_where_int8_is_not_faster(shipped: Shipped, forked, tmp_path: Path) -> None:
    run = copy_of(shipped.run, tmp_path)
    timed = run.path / "comparison.json"
    found = read_comparison(timed)
    full = found.baseline
    slow = [
        replace(one, round_ms=[3 * ms for ms in full.round_ms]) if one != full else one
        for one in found.candidates
    ]
    write_comparison(timed, replace(found, candidates=slow))
    record = run.record()
    record["steps"]["compare local"]["products"] = {timed.name: sha256_of(timed)}
    run.note(**record)
    run.shipping_path.unlink()
    said = forked(*AUTO, cwd=tmp_path)
    assert said.code == 0, said.err
    shipping = read_shipping(run.shipping_path)
    assert shipping.chosen == "local-onnx-fp32"
    assert "local-onnx-int8 is slower than FP32" in shipping.reason


def test_for_another_machine_nothing_is_timed_and_that_is_said(elsewhere: Shipped) -> None:
    shipping = read_shipping(elsewhere.run.shipping_path)
    assert "not timed: rpi5 is aarch64, host local is" in elsewhere.err
    assert shipping.measured_on is None
    assert all(one.p50_ms is None for one in shipping.candidates)
    smallest = min(
        (one for one in shipping.candidates if one.meets_limit), key=lambda one: one.model_bytes
    )
    assert shipping.chosen == smallest.bundle
    assert "not measured" in shipping.reason
    assert not (elsewhere.run.path / "comparison.json").exists()


def test_only_the_precisions_that_are_asked_for_are_tried(
    elsewhere: Shipped, forked, tmp_path: Path
) -> None:
    run = copy_of(elsewhere.run, tmp_path)
    command = ["export", "--format", "onnx", "--no-teacher", *ELSEWHERE]
    said = forked(*command, "--precision", "int8", "--max-drop", 2, cwd=tmp_path)
    assert said.code == 0, said.err
    shipping = read_shipping(run.shipping_path)
    assert [one.precision for one in shipping.candidates] == ["fp32", "int8"]
    assert said.err.count("(done before)") == shipping.trials


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_ends_the_same(
    own: RunFolder, elsewhere: Shipped, doomed: dict[str, str], forked, tmp_path: Path
) -> None:
    run = own
    command = [COMPRESS, *AUTO, *ELSEWHERE]
    with subprocess.Popen(
        command, cwd=tmp_path, env={**doomed, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not (finished := set((run.path / "trials").glob("trial-*.json"))):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not run.shipping_path.exists()
    finished = {path: path.stat().st_mtime_ns for path in finished}
    said = forked(*AUTO, *ELSEWHERE, cwd=tmp_path)
    assert said.code == 0, said.err
    assert said.err.count("(done before)") >= len(finished) > 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    ours, theirs = (read_shipping(one.shipping_path) for one in (run, elsewhere.run))
    assert facts_of(ours) == facts_of(theirs)
    assert (ours.chosen, ours.reason, ours.trials) == (theirs.chosen, theirs.reason, theirs.trials)
    assert {path.name.partition("-")[0] for path in (run.path / "trials").iterdir()} == {"trial"}


@pytest.fixture(scope="module")
def hostile(brought_once: Path, forked, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """A network of which two convolutions do not bear 8 bits; first as a whole, in vain."""
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(brought_once / "hostile.safetensors", folder)
    run = RunFolder(folder / "runs/hostile")
    whole = forked(*HOSTILE, "--precision", "int8", *ELSEWHERE, cwd=folder)
    assert whole.code == 20, whole.err
    (folder / "whole.err").write_text(whole.err)
    said = forked(*HOSTILE, "--precision", "auto", *ELSEWHERE, "--json", cwd=folder)
    assert said.code == 0, said.err
    return Shipped(run, said.err, {"whole": whole.complaint, **said.json()})


@pytest.mark.slow
def test_operators_that_do_not_bear_8_bits_are_kept_and_named(hostile: Shipped) -> None:
    shipping = read_shipping(hostile.run.shipping_path)
    int8 = next(one for one in shipping.candidates if one.precision == "int8")
    assert shipping.chosen == int8.bundle
    assert 1 <= len(int8.excluded) <= 3
    assert all("Conv" in name for name in int8.excluded)
    manifest = open_bundle(hostile.run.bundles / int8.bundle).manifest
    assert set(int8.excluded) <= set(manifest.format_facts["quantization"]["excluded"])
    trials = trials_told(hostile.err)
    assert any("cannot be made" in line for line in trials)
    assert any("operators kept" in line for line in trials)


@pytest.mark.slow
def test_where_no_int8_model_agrees_fp32_is_left_and_what_to_try_is_told(
    brought: Path, forked
) -> None:
    few = ["--precision", "int8", "--max-drop", 1, "--max-trials", 2, "--run", "runs/few"]
    said = forked(*HOSTILE, *few, cwd=brought)
    assert said.code == 0, said.err
    shipping = read_shipping(brought / "runs/few/shipping.json")
    assert [one.precision for one in shipping.candidates] == ["fp32"]
    (note,) = shipping.notes
    assert note.startswith("onnx: no INT8 model could be made in 2 trials (onnx-int8-minmax: int8")
    assert note.endswith("(export.max_trials) keep more operators in floating point")
    assert "host" not in shipping.reason


@pytest.mark.slow
def test_what_disagrees_with_the_original_is_kept_where_the_message_says(
    hostile: Shipped, tmp_path: Path
) -> None:
    said = hostile.content["whole"]
    folder = "runs/hostile/bundles/failed/rpi5-onnx-int8"
    assert f"what was made is kept in {folder}" in said
    assert "the outputs first part at" in said
    # In the search too; and what passed in the end is no evidence any more.
    assert not (hostile.run.bundles / "failed").exists()
    failed = hostile.run.path / "trials/failed"
    for kept in failed.iterdir():
        assert f"what was made is kept in runs/hostile/trials/failed/{kept.name})" in hostile.err
        evidence = json.loads((kept / "parity.json").read_text())
        assert evidence["parity"]["top1_agreement"] < evidence["tolerance"]["top1_agreement"]
        assert (kept / "model.onnx").is_file() and (kept / "probe.npz").is_file()
    assert hostile.err.count("what was made is kept in") == len(list(failed.iterdir()))


def test_a_full_disk_keeps_what_was_tried(small_disk, brought: Path, forked) -> None:
    disk, resize = small_disk
    network = ["net.onnx", "--data", "digits", "--image-size", "16", "--format", "onnx"]
    command = ["export", *network, "--precision", "auto", *ELSEWHERE, "--run", disk / "run"]
    resize("1400k")  # for the trials, but not for the bundles that were found
    said = forked(*command, cwd=brought)
    assert said.code == 18, said.err
    assert "no space left" in said.complaint
    run = RunFolder(disk / "run")
    assert not run.shipping_path.exists()
    assert len(list((run.path / "trials").iterdir())) > 0
    resize("9m")
    said = forked(*command, cwd=brought)
    assert said.code == 0, said.err
    assert "(done before)" in said.err
    assert read_shipping(run.shipping_path).met


MISTAKES = {
    "two targets": (11, "chosen for one target", ["--target", "local", "--target", "rpi5"]),
    "others beside auto": (11, "leave out the others", ["--precision", "int8"]),
    "a misspelt precision": (12, "'atuo', did you mean 'auto'?", ["--precision", "atuo"]),
    "a limit below nothing": (11, "export.max_drop", ["--max-drop", "-1"]),
    "a limit that is no number": (11, "export.max_drop", ["--max-drop", "nan"]),
    "no trial at all": (11, "export.max_trials", ["--max-trials", "0"]),
    "nothing that the target takes": (
        2, "target rpi4 takes onnx", ["--target", "rpi4", "--format", "openvino"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_changes_nothing(
    name: str, road, forked, tmp_path: Path
) -> None:
    code, words, wrong = MISTAKES[name]
    auto = [] if "misspelt" in name else ["--precision", "auto"]
    before = written_at(road.run)
    said = forked("export", road.run.path, *auto, *wrong, cwd=tmp_path)
    assert said.code == code, said.err
    assert words in said.complaint
    assert written_at(road.run) == before


@pytest.mark.slow
def test_a_student_that_was_trained_with_8_bits_is_tried_with_the_numbers_that_it_learnt(
    brought: Path, forked
) -> None:
    data = ["--data", "digits", "--set", "data.image_size=16", "--set", "data.batch_size=128"]
    networks = ["--teacher", "resnet8", "--teacher-weights", "net.safetensors"]
    start = ["--student", "resnet8", "--set", "student.weights=net.safetensors"]
    stages = ["--stages", "kd,quant", "--epochs", 1, "--run", "runs/learnt"]
    said = forked("distill", *data, *networks, *start, *stages, cwd=brought)
    assert said.code == 0, said.err
    said = forked(*AUTO, *ELSEWHERE, cwd=brought)
    assert said.code == 0, said.err
    run = RunFolder(brought / "runs/learnt")
    shipping = read_shipping(run.shipping_path)
    assert shipping.chosen == "rpi5-onnx-int8"
    assert "ranges_sha256" in open_bundle(run.bundles / shipping.chosen).manifest.origin
    assert "ranges_sha256" not in open_bundle(run.bundles / "rpi5-onnx-fp32").manifest.origin
