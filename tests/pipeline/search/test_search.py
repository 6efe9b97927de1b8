"""A search through the real command: whole, opened by others, and each mistake in a line."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UntrustedCodeError, UsageError
from foundation.files import sha256_of
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder
from pipeline.search.database import require_optuna
from pipeline.search.space import space_of

COMPRESS = Path(sys.executable).with_name("compress")
PATIENCE_S = 900


class TestWhatIsFound:
    def test_it_is_said_as_it_is_kept(self, searched) -> None:
        printed = searched.printed
        assert printed["search"] == "runs/small"
        assert {**printed, "search": None} == searched.record

    def test_every_trial_is_an_ordinary_run_with_what_was_drawn(self, searched) -> None:
        points = {point["trial"]: point for point in searched.record["points"]}
        assert points.keys() == {0, 1, 2}
        for number, point in points.items():
            run = RunFolder(searched.folder.path / point["folder"])
            assert {"data", "teacher", "distill"} <= run.record()["steps"].keys()
            recipe = run.recipe()
            drawn = point["params"]
            assert recipe.search is None
            assert recipe.student.model == drawn["student.model"]
            assert recipe.export.precisions == [drawn["export.precisions"]]
            assert "-".join(stage.name for stage in recipe.stages) == drawn["stages"]
            assert (run.bundles / point["bundle"] / "bundle.json").is_file(), number

    def test_a_trial_that_fails_costs_itself_alone_and_says_why(self, searched) -> None:
        (failed,) = searched.record["left_out"]
        assert (failed["trial"], failed["state"]) == (3, "failed")
        assert "it cannot be built" in failed["reason"]
        assert "trial 3: failed: " in searched.told

    def test_what_trials_have_in_common_is_made_once(self, searched) -> None:
        first, second, third = (searched.folder.trial(number) for number in range(3))
        (teacher,) = (searched.folder.path / "teachers").iterdir()
        weights = sha256_of(teacher / "teacher/weights.safetensors")
        for run in (first, second, third):
            assert sha256_of(run.teacher / "weights.safetensors") == weights
        # A stage that was trained anew would have taken another time.
        metrics = {(run.stages / "1-kd/metrics.json").read_text() for run in (first, third)}
        assert len(metrics) == 1
        assert sha256_of(first.student) == sha256_of(third.student)
        # Of two students an FP32 graph each.
        assert len(list(searched.folder.floats.glob("[0-9a-f]*"))) == 2

    def test_latencies_are_measured_in_turns_with_one_reference(self, searched) -> None:
        reference = searched.record["reference"]
        digest = reference["manifest_sha256"]
        for point in searched.record["points"]:
            run = RunFolder(searched.folder.path / point["folder"])
            (path,) = run.comparison_paths()
            baseline, candidate = json.loads(path.read_text())["candidates"]
            assert baseline["bundle"]["manifest_sha256"] == digest
            ratio = candidate["against_baseline"]["estimate"]
            latency = point["figures"]["latency_p50"]
            assert latency["value"] == pytest.approx(ratio * reference["ms"]["p50"])
            assert latency["low"] <= latency["value"] <= latency["high"]

    def test_accuracies_are_those_of_the_validation_images(self, searched) -> None:
        for point in searched.record["points"]:
            bundle = searched.folder.path / point["folder"] / "bundles" / point["bundle"]
            kept = json.loads((bundle / "bundle.json").read_text())["accuracy"]["validation"]
            assert point["figures"]["accuracy"]["value"] == pytest.approx(100 * kept["top1"])

    def test_the_front_is_a_table_for_spreadsheets_too(self, searched) -> None:
        rows = searched.folder.table_path.read_text().splitlines()
        assert len(rows) == 1 + len(searched.record["points"])


class TestOtherCommands:
    def test_a_trials_bundle_is_whole_and_can_be_shipped(self, searched, forked) -> None:
        point = searched.record["points"][0]
        bundle = searched.folder.path / point["folder"] / "bundles" / point["bundle"]
        assert forked("bundle", "verify", bundle, cwd=searched.folder.path).code == 0

    def test_no_run_and_no_study_is_begun_where_a_search_lies(self, searched, forked) -> None:
        there = searched.folder.path.parents[1]
        for command in ("run", "study"):
            said = forked(command, "small.toml", "--run", "runs/small", "--trust-code", cwd=there)
            assert said.code == 17, said.err
            assert "a search lies here" in said.complaint
        assert (searched.folder.trial(0).path / "run.json").exists()

    def test_the_table_is_shown_from_anywhere_without_searching(self, searched, forked) -> None:
        there = searched.folder.path.parents[1]
        for words in (["runs/small"], ["small"], []):
            said = forked("search", *words, "--front", cwd=there)
            assert said.code == 0, said.err
            assert "stages" in said.out and "trial 3: failed" in said.out

    def test_one_is_picked_and_judged_on_the_test_images_once(self, searched, forked) -> None:
        there = searched.folder.path.parents[1]
        words = ("search", "small", "--pick", "size<=1MB and accuracy_drop<=100", "--json")
        first, second = (forked(*words, cwd=there) for _ in range(2))
        assert first.code == 0, first.err
        picked = first.json()["picked"]
        assert picked == second.json()["picked"]
        points = searched.record["points"]
        best = max(points, key=lambda point: point["figures"]["accuracy"]["value"])
        by_trial = {point["trial"]: point for point in points}
        chosen = by_trial[picked["pick"]["trial"]]["figures"]["accuracy"]
        assert chosen == best["figures"]["accuracy"]
        run = RunFolder(there / picked["pick"]["folder"])
        kept = json.loads((there / picked["pick"]["bundle"] / "bundle.json").read_text())
        assert picked["pick"]["top1_percent"]["value"] == pytest.approx(
            100 * kept["accuracy"]["top1"]
        )
        page = (searched.folder.path / "report.html").read_text()
        assert f"Ship trial {picked['pick']['trial']}" in page
        teacher = run.record()["networks"]["teacher"]["test"]["top1"]
        assert picked["pick"]["teacher_top1_percent"]["value"] == pytest.approx(100 * teacher)

    def test_its_page_is_a_report_too(self, searched, forked, tmp_path: Path) -> None:
        there = searched.folder.path
        said = forked("report", there, "--out", tmp_path, "--json", cwd=tmp_path)
        assert said.code == 0, said.err
        assert said.json()["written"] == [str(tmp_path / "report.html")]

    def test_where_nothing_qualifies_the_exit_code_says_so(self, searched, forked) -> None:
        there = searched.folder.path.parents[1]
        said = forked("search", "small", "--pick", "size<=1kB", "--json", cwd=there)
        assert said.code == 25
        assert "no trial keeps size<=1kB; the nearest is trial" in said.complaint
        assert said.json()["picked"] is None


# A device that this machine is not.
OTHER = "n100" if platform.machine() == "aarch64" else "rpi"
WRONG: list[tuple[list[str], int, str]] = [
    ([], 2, "name a recipe"),
    (["small.toml", "--front", "--pick", "size<=1MB"], 2, "say one of them"),
    (["--pick", "fast"], 2, "'fast' is no limit"),
    (["--front"], 10, "no search here yet"),
    (["nowhere", "--front"], 10, "nowhere: neither the folder of a search"),
    (["digits"], 11, "recipe digits: it has no [search]"),
    (["digits", "--trials", "3"], 11, "nothing varies"),
    (["small.toml"], 24, "broken:broken"),
    (["good.toml", "--target", OTHER], 2, "whose latencies would say nothing of it"),
    (["good.toml", "--target", "rpi", "--target", "local"], 11, "a search is for one target"),
    (["good.toml", "--set", 'export.formats=["onnx","openvino"]'], 11, "a trial has one bundle"),
    (["good.toml", "--set", 'search.limits=["fast"]'], 2, "'fast' is no limit"),
    (["good.toml", "--set", "search.trials=0"], 11, "but got 0"),
    (["good.toml", "--storage", "mysql://x"], 11, "must be sqlite:///FILE or postgresql://"),
]


@pytest.mark.parametrize(("words", "code", "complaint"), WRONG, ids=lambda value: str(value)[:40])
def test_each_mistake_is_told_in_a_line_before_anything_is_trained(
    words: list[str], code: int, complaint: str, *, small_search: str, forked, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(small_search)
    (tmp_path / "good.toml").write_text(small_search.replace(', "broken:broken"', ""))
    (tmp_path / "broken.py").write_text("raise SystemExit('imported')")
    said = forked("search", *words, cwd=tmp_path)
    assert said.code == code, said.err
    assert complaint in said.complaint
    assert not list(tmp_path.glob("runs/*/trials/*"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--set", "data.batch_size=32"], "data.batch_size is 64 there, 32 here"),
        (["--seed", "4"], "search.seed is 3 there, 4 here"),
        (["--storage", "sqlite:///elsewhere.db"], "this search is kept in sqlite:///"),
    ],
)
def test_another_search_is_not_mixed_into_one_that_is_there(
    searched, forked, words: list[str], complaint: str
) -> None:
    there = searched.folder.path.parents[1]
    said = forked("search", "small.toml", "--trust-code", *words, cwd=there)
    assert said.code == 17, said.err
    assert complaint in said.complaint


def test_code_that_only_the_space_names_is_asked_for_too(recipe_with, tmp_path: Path) -> None:
    from pipeline.search.checks import check_code_in  # noqa: PLC0415

    path = recipe_with('[search.space]\n"teacher.model" = ["resnet8", "broken:broken"]\n')
    for typed in ({}, {"teacher.model": "resnet20"}):
        file = load_recipe(path, typed)
        assert file.recipe.search is not None
        space = space_of(file, file.recipe.search)
        with pytest.raises(UntrustedCodeError, match="broken:broken"):
            check_code_in(space, file, tmp_path / "runs/x", lambda _line: None)


def test_without_optuna_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'edge-compress\[search\]'"):
        require_optuna()


def _begun(log: Path, process: subprocess.Popen[str]) -> int:
    """The number of the process in which a command's first trial began."""
    import re  # noqa: PLC0415

    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        text = log.read_text() if log.exists() else ""
        if found := re.search(r"trial \d+: begun in process (\d+)", text):
            return int(found[1])
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)
    raise AssertionError(f"no trial began:\n{text}")


@pytest.fixture
def start(small_search: str, doomed: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """Starts a search in `tmp_path`, beside others of the same."""
    text = small_search.replace(', "broken:broken"', "")
    (tmp_path / "small.toml").write_text(text)

    def begin(name: str, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMPRESS, "search", "small.toml", "--trials", "4", "--log-file", f"{name}.log",
             "--set", "search.lost_after=20", *words, "--json"],
            cwd=tmp_path, env={**doomed, "COLUMNS": "200", "TERM": "dumb"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    return begin


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_commands_finish_every_trial_once_though_one_is_killed(
    kind: str, start: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The space has four points; a command is killed while its trial is under way."""
    storage = ("--storage", request.getfixturevalue(kind)) if kind == "postgresql" else ()
    killed = start("killed", *storage)
    _begun(tmp_path / "killed.log", killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    two = [start(name, *storage) for name in ("one", "two")]
    for process in two:
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
    record = json.loads((tmp_path / "runs/small/front.json").read_text())
    assert record["left_out"] == []
    assert len(record["points"]) == 4
    assert len({str(point["params"]) for point in record["points"]}) == 4
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("one", "two"))
    for point in record["points"]:
        assert logs.count(f"trial {point['trial']}: done") == 1


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_is_begun_again_and_the_search_goes_on(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    command = start("one", "--trials", "1")
    os.kill(_begun(tmp_path / "one.log", command), signal.SIGKILL)
    out, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 0, err
    assert "trial 0: begun again: its process was killed by SIGKILL" in err
    assert len(json.loads(out)["points"]) == 1
