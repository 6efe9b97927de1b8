"""A study that goes on from its results file alone: whole, in part, by another teacher, damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studies import PATIENCE_S, group_is_gone, start, timeless

from foundation.errors import CorruptFileError, RunMismatchError
from pipeline.recipe.file import RecipeFile, load_recipe
from pipeline.study.arms import chosen_arms
from pipeline.study.earlier import EarlierResults, known_results
from pipeline.study.folder import StudyFolder
from pipeline.study.results_file import ResultsFile, line_of
from pipeline.study.study import list_tasks
from pipeline.study.subject import TaughtBy

OTHERS = "ab" * 32
Rows = list[dict[str, Any]]


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def figures_of(found: dict[str, Any]) -> dict[str, Any]:
    """What a study found but times and the ways there, of which the file keeps some points."""
    arms = {
        name: {
            **arm,
            "runs": [{**run, "history": None, "fingerprint": None} for run in arm["runs"]],
        }
        for name, arm in found["arms"].items()
    }
    return timeless({**found, "arms": arms, "study": None, "report": None})


@pytest.fixture(scope="module")
def kept(study, small: str, compress, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the tiny study as a file, with its recipe and its folder beside it."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "small.toml").write_text(small)
    shutil.copytree(study.path, folder / "runs/small")
    said = compress("study", "small.toml", "--results", "small.jsonl", cwd=folder)
    assert said.code == 0, said.err
    return folder / "small.jsonl"


@pytest.fixture
def elsewhere(kept: Path, tmp_path: Path) -> Path:
    """Another machine's folder: it has the recipe and the results file, and nothing else."""
    shutil.copy(kept, tmp_path)
    shutil.copy(kept.with_name("small.toml"), tmp_path)
    return tmp_path / "small.jsonl"


def earlier_in(
    path: Path, *changes: tuple[str, Any], folder: Path | None = None
) -> tuple[EarlierResults, list[str]]:
    """What counts of a results file for the tiny study, and what is said of it."""
    overrides = {"study.results": str(path), **dict(changes)}
    file = RecipeFile(load_recipe(path.with_name("small.toml"), overrides).recipe)
    folder = folder or path.parent / "none"
    study, said = StudyFolder(folder, folder / "teachers"), list[str]()
    tasks = list_tasks(file, study, chosen_arms(file))
    return EarlierResults(*known_results(file.recipe), study, tasks, said.append), said


def names(earlier: EarlierResults) -> tuple[list[str], list[str]]:
    return [task.name for task, _ in earlier.settled], [task.name for task in earlier.remaining]


class TestTheFile:
    def test_a_line_is_small_and_they_are_sorted(self, kept: Path) -> None:
        heading, *lines = read(kept)
        assert heading["kind"] == "study-results"
        keys = [(line["seed"], line["arm"]) for line in lines]
        assert keys == [(0, "kd"), (0, "smskd-tcp"), (1, "kd"), (1, "smskd-tcp")]
        assert max(map(len, kept.read_text().splitlines()[1:])) < 2048
        assert str(kept.parent) not in kept.read_text()

    def test_what_is_there_already_is_not_written_again(self, kept: Path, compress) -> None:
        before = kept.stat().st_mtime_ns, kept.read_bytes()
        said = compress("study", "small.toml", "--results", "small.jsonl", cwd=kept.parent)
        assert said.code == 0, said.err
        assert before == (kept.stat().st_mtime_ns, kept.read_bytes())

    def test_lines_that_somebody_brings_in_meanwhile_stay(self, elsewhere: Path) -> None:
        file, rows = ResultsFile(elsewhere), read(elsewhere)
        known = file.read()
        assert known is not None
        write(elsewhere, [*rows, {**rows[-1], "arm": "theirs"}])
        file.put(known.lines[0, "kd"], known.study, known.subject)  # nothing new
        ours = known.lines[0, "kd"].result("")
        teacher = TaughtBy(OTHERS, 0.5, 0.5)
        file.put(line_of(ours, OTHERS, teacher), known.study, known.subject)
        now = read(elsewhere)
        assert [row["arm"] for row in now[1:]] == ["kd", "smskd-tcp", "kd", "smskd-tcp", "theirs"]
        assert now[1]["teacher"]["sha256"] == OTHERS
        assert now[2:-1] == rows[2:]

    def test_a_long_curve_keeps_few_points_and_the_last(self, kept: Path) -> None:
        known = ResultsFile(kept).read()
        assert known is not None
        result = known.lines[0, "kd"].result("")
        result.history[:] = [{"epoch": epoch, "val_top1": epoch / 1000} for epoch in range(1, 721)]
        curve = line_of(result, OTHERS, known.lines[0, "kd"].teacher).curve
        assert (curve.epochs[0], curve.epochs[-1], len(curve.epochs)) == (30, 720, 24)
        assert curve.top1[-1] == 0.72


class TestWhatCounts:
    def test_a_study_that_is_whole_there_is_reported_without_data_or_teachers(
        self, study, elsewhere: Path, compress
    ) -> None:
        asked = ("--results", "small.jsonl", "--json")
        said = compress("study", "small.toml", *asked, cwd=elsewhere.parent)
        assert said.code == 0, said.err
        assert said.err.count("done before") == 4
        assert figures_of(said.json()) == figures_of(study.found)
        made = sorted(path.name for path in (elsewhere.parent / "runs/small").iterdir())
        assert made == [".lock", "recipe.toml", "report.html", "report.md", "study.json"]

    def test_of_a_seed_that_lacks_an_arm_those_count_that_the_teacher_here_taught(
        self, study, elsewhere: Path, compress
    ) -> None:
        rows = read(elsewhere)
        write(elsewhere, [row for row in rows if (row.get("seed"), row.get("arm")) != (1, "kd")])
        asked = ("--results", "small.jsonl", "--jobs", "1", "--json")
        said = compress("study", "small.toml", *asked, cwd=elsewhere.parent)
        assert said.code == 0, said.err
        # On one machine a teacher has the same bits when it is trained again.
        assert "teacher, seed 1: val" in said.err and "kd, seed 1: val" in said.err
        assert "smskd-tcp, seed 1: done before" in said.err and "teacher, seed 0" not in said.err
        assert figures_of(said.json()) == figures_of(study.found)
        assert timeless(read(elsewhere)) == timeless(rows)

    def test_results_of_another_teacher_are_said_and_give_way_as_new_ones_come(
        self, study, elsewhere: Path, compress
    ) -> None:
        rows = read(elsewhere)
        theirs = {**rows[4], "teacher": {**rows[4]["teacher"], "sha256": OTHERS}}
        write(elsewhere, [*rows[:3], theirs])  # of seed 1 theirs alone
        asked = ("--results", "small.jsonl", "--jobs", "1", "--json")
        said = compress("study", "small.toml", *asked, cwd=elsewhere.parent)
        assert said.code == 0, said.err
        assert "seed 1: the results of smskd-tcp in small.jsonl are of another teacher" in said.err
        assert "smskd-tcp, seed 1: val" in said.err
        assert figures_of(said.json()) == figures_of(study.found)
        assert timeless(read(elsewhere)) == timeless(rows)

    def test_a_whole_seed_counts_whoever_taught_it(self, elsewhere: Path) -> None:
        rows = read(elsewhere)
        for row in rows[3:]:
            row["teacher"]["sha256"] = OTHERS
        earlier, said = earlier_in(write(elsewhere, rows))
        assert names(earlier) == (
            ["kd, seed 0", "smskd-tcp, seed 0", "kd, seed 1", "smskd-tcp, seed 1"], []
        )  # fmt: skip
        assert said == []
        _, teachers, _ = earlier.all_results(set())
        assert teachers[0].sha256 != teachers[1].sha256 == OTHERS

    def test_two_teachers_in_a_seed_are_one_too_many(self, elsewhere: Path) -> None:
        rows = read(elsewhere)
        rows[3]["teacher"]["sha256"] = OTHERS
        settled, remaining = names(earlier_in(write(elsewhere, rows))[0])
        assert settled == ["kd, seed 0", "smskd-tcp, seed 0"]
        assert remaining == ["teacher, seed 1", "kd, seed 1", "smskd-tcp, seed 1"]

    def test_nothing_is_replaced_before_there_is_something_new(
        self, kept: Path, elsewhere: Path
    ) -> None:
        rows = read(elsewhere)
        rows[3]["teacher"]["sha256"] = OTHERS
        before = write(elsewhere, rows).read_bytes()
        folder = Path(shutil.copytree(kept.parent / "runs/small", elsewhere.parent / "runs/small"))
        shutil.rmtree(folder / "arms")
        earlier, said = earlier_in(elsewhere, folder=folder)
        teacher, kd, tcp = earlier.remaining
        earlier.take_over(teacher)
        assert elsewhere.read_bytes() == before
        assert kd.result() is None and tcp.result() is not None
        assert [line.partition(":")[0] for line in said] == ["seed 1"]

    def test_an_arm_more_needs_the_teacher(self, elsewhere: Path) -> None:
        arms = ("study.arms", ["alone", "kd", "smskd-tcp"])
        settled, remaining = names(earlier_in(elsewhere, arms)[0])
        assert settled == [] and len(remaining) == 2 + 2 * 3

    def test_a_seed_more_needs_its_own_alone(self, elsewhere: Path) -> None:
        settled, remaining = names(earlier_in(elsewhere, ("study.seeds", 3))[0])
        assert len(settled) == 4
        assert remaining == ["teacher, seed 2", "kd, seed 2", "smskd-tcp, seed 2"]

    @pytest.mark.parametrize(
        "change",
        [("study.threads", 2), ("teacher.training.epochs", 2), ("data.batch_size", 16),
         ("stages.0.epochs", 2), ("engine.precision", "bf16")],
    )  # fmt: skip
    def test_what_was_asked_for_otherwise_does_not_count(
        self, elsewhere: Path, change: tuple[str, Any]
    ) -> None:
        earlier, said = earlier_in(elsewhere, change)
        assert names(earlier)[0] == []
        assert len(said) == 1 and "and 3 more were asked for otherwise" in said[0]


@pytest.mark.slow
def test_one_teacher_for_all_seeds_is_said_only_where_it_is_true(elsewhere: Path, compress) -> None:
    text = (elsewhere.parent / "small.toml").read_text()
    (elsewhere.parent / "small.toml").write_text(text + "teacher_seed = 0\n")
    asked = ("--results", "small.jsonl", "--jobs", "2")
    write(elsewhere, read(elsewhere)[:1])
    said = compress("study", "small.toml", *asked, cwd=elsewhere.parent)
    assert said.code == 0, said.err
    report = elsewhere.parent / "runs/small/report.md"
    assert "all seeds have one teacher" in report.read_text()
    rows = read(elsewhere)
    for row in rows[3:]:
        row["teacher"]["sha256"] = OTHERS
    write(elsewhere, rows)
    said = compress("study", "small.toml", *asked, "--run", "runs/b", cwd=elsewhere.parent)
    assert said.code == 0, said.err
    report = elsewhere.parent / "runs/b/report.md"
    assert "all arms of a seed have one teacher" in report.read_text()


@pytest.mark.slow
def test_photos_that_are_gone_are_not_needed_wherever_they_lay(
    small: str, draw_photos, compress, tmp_path: Path
) -> None:
    photos = draw_photos(tmp_path / "photos")
    text = small.replace('"digits"', '"folder:photos"').replace("= 0.05", "= 1.0")
    text = text.replace("seeds = 2", "seeds = 1").replace('"kd", ', '"alone", ')
    (tmp_path / "small.toml").write_text(text + 'results = "photos.jsonl"\n')
    said = compress("study", "small.toml", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert str(tmp_path) not in (tmp_path / "photos.jsonl").read_text()
    shutil.rmtree(photos)
    shutil.rmtree(tmp_path / "runs")
    moved = ("--set", "data.name=folder:elsewhere", "--json")
    again = compress("study", "small.toml", *moved, cwd=tmp_path)
    assert again.code == 0, again.err
    assert figures_of(again.json()) == figures_of(said.json())


class TestAFileThatCannotBe:
    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda text: text[:-9], "line 5 is not the result of an arm"),
            (lambda text: text + "<<<<<<< HEAD\n", "line 6 is not the result of an arm"),
            (lambda text: text + text.splitlines()[3] + "\n", "line 6 is the second of arm 'kd'"),
            (lambda text: text.partition("\n")[2], "line 1 is not what a study is about"),
            (lambda text: text.replace('"test_top1": 0.', '"test_top1": 3.'), "from 0 to 1"),
            (lambda text: text.replace('"seed": 1', '"seed": "1"'), "must be a whole number"),
            (lambda text: text.replace('"top1": [', '"top1": [0.5, '), "must have"),
            (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "must be 1"),
            (lambda text: "", "line 1 is not what a study is about"),
        ],
    )  # fmt: skip
    def test_it_is_told_of_with_the_line(
        self, elsewhere: Path, spoil: Callable[[str], str], words: str
    ) -> None:
        elsewhere.write_text(spoil(elsewhere.read_text()))
        with pytest.raises(CorruptFileError) as error:
            earlier_in(elsewhere)
        assert words in str(error.value) and str(elsewhere) in str(error.value)

    def test_nothing_is_begun_then(self, elsewhere: Path, compress) -> None:
        elsewhere.write_text(elsewhere.read_text()[:-9])
        asked = ("--results", "small.jsonl")
        said = compress("study", "small.toml", *asked, cwd=elsewhere.parent)
        assert said.code == 16
        assert "small.jsonl: line 5 is not the result of an arm" in said.complaint
        assert not (elsewhere.parent / "runs").exists()

    def test_another_dataset_or_network_is_another_study(self, elsewhere: Path) -> None:
        with pytest.raises(RunMismatchError, match=r"data\.name is 'digits' there, 'cifar10' here"):
            earlier_in(elsewhere, ("data.name", "cifar10"))
        with pytest.raises(RunMismatchError, match=r"student\.model is 'resnet8' there"):
            earlier_in(elsewhere, ("student.model", "resnet20"))

    def test_data_that_differ_from_the_study_s_are_refused(
        self, kept: Path, elsewhere: Path
    ) -> None:
        rows = read(elsewhere)
        rows[0]["data"]["counts"]["test"] += 1
        with pytest.raises(RunMismatchError, match=r"data\.counts\.test is 361 there, 360 here"):
            earlier_in(write(elsewhere, rows), folder=kept.parent / "runs/small")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.slow
def test_a_killed_study_goes_on_elsewhere_from_the_file_alone(
    study, small: str, doomed: dict[str, str], compress, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "small.toml").write_text(small + 'results = "small.jsonl"\n')
    process = start(here, doomed)
    deadline = time.monotonic() + PATIENCE_S
    while not (here / "small.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert group_is_gone(process)
    done = len(read(here / "small.jsonl")) - 1
    assert done < 4
    for name in ("small.toml", "small.jsonl"):
        shutil.move(here / name, there / name)
    shutil.rmtree(here)
    said = compress("study", "small.toml", "--jobs", "2", "--json", cwd=there)
    assert said.code == 0, said.err
    assert said.err.count("done before") == done
    assert figures_of(said.json()) == figures_of(study.found)
    assert len(read(there / "small.jsonl")) == 1 + 4
