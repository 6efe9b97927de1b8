"""Studies through the real command: whole, killed on the way, and with an arm that fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from studies import PATIENCE_S, group_is_gone, start, timeless

from foundation.errors import RunMismatchError
from pipeline.recipe.sections.networks import StudentRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.recipe.sections.study import StudyRecipe
from pipeline.run_folder.folder import start_run
from pipeline.study.folder import StudyFolder, start_study

BROKEN = """
from torch import nn

class Deaf(nn.Module):
    \"\"\"It has neither a tap nor a last linear layer.\"\"\"

    def __init__(self, classes, channels):
        super().__init__()
        self.weight = nn.Parameter(__import__("torch").randn(classes, channels * 64) / 8)

    def forward(self, images):
        return images.flatten(1) @ self.weight.T

def deaf(num_classes, in_channels):
    return Deaf(num_classes, in_channels)
"""


class TestWhatIsFound:
    def test_it_is_said_as_it_is_written(self, study) -> None:
        said = study.said.json()
        assert said["report"] == ["runs/small/report.html", "runs/small/report.md"]
        printed_alone = {"study": None, "report": []}
        assert said | printed_alone == study.found

    def test_every_arm_has_a_figure_for_every_seed(self, study) -> None:
        arms = study.found["arms"]
        assert list(arms) == ["kd", "smskd-tcp"]
        for name, one in arms.items():
            assert [run["seed"] for run in one["runs"]] == [0, 1]
            assert all(run["arm"] == name for run in one["runs"])
            tests = [run["test_top1"] for run in one["runs"]]
            assert one["test"]["mean"] == pytest.approx(sum(tests) / 2)

    def test_the_curve_runs_over_the_whole_budget_and_ends_in_the_result(self, study) -> None:
        for one in study.found["arms"].values():
            for run in one["runs"]:
                assert [record["epoch"] for record in run["history"]] == [1, 2]
                assert run["history"][-1]["val_top1"] == run["validation_top1"]

    def test_a_sequence_tells_what_each_stage_left_and_added(self, study) -> None:
        arms = study.found["arms"]
        assert arms["kd"]["retention"] is None
        for run in arms["smskd-tcp"]["runs"]:
            (first, later), (none, own) = run["retention"]["loss"]
            assert none is None
            assert min(first, later, own) > 0
            assert run["after_stage"] == [r["val_top1"] for r in run["history"]]

    def test_differences_are_against_kd(self, study) -> None:
        arms = study.found["arms"]
        pairs = zip(arms["smskd-tcp"]["runs"], arms["kd"]["runs"], strict=True)
        gains = [ours["test_top1"] - theirs["test_top1"] for ours, theirs in pairs]
        assert arms["smskd-tcp"]["against_baseline"]["difference"] == pytest.approx(sum(gains) / 2)
        assert arms["kd"]["against_baseline"] is None
        assert arms["kd"]["relative_time"] == 1.0
        assert arms["smskd-tcp"]["against_alone"] is None  # that arm was not asked for

    def test_all_arms_hear_of_one_teacher_a_seed_and_its_views_are_kept_once(self, study) -> None:
        assert study.found["teachers"].keys() == {"0", "1"}
        facts = [path.relative_to(study.path).parts[0] for path in study.path.rglob("facts.json")]
        assert sorted(facts) == ["data", *["teachers"] * (2 + 2)]  # of its data, of its views

    def test_nothing_is_left_of_processes_that_had_nothing_to_say(self, study) -> None:
        assert not list((study.path / "logs").iterdir())


@pytest.mark.slow
def test_one_after_the_other_gives_the_same_figures(
    study, small: str, compress, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(small)
    one = ("--jobs", "1", "--seeds", "1", "--arms", "smskd-tcp")
    said = compress("study", "small.toml", *one, "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    ours = said.json()["arms"]["smskd-tcp"]["runs"]
    assert timeless(ours) == timeless(study.found["arms"]["smskd-tcp"]["runs"][:1])


def wait_until_under_way(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until an arm has saved an epoch of some stage."""
    deadline = time.monotonic() + PATIENCE_S
    while not list(folder.glob("runs/small/arms/*/*/*/resume.safetensors")):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.slow
def test_a_killed_study_ends_with_the_figures_of_one_that_never_stopped(
    study, small: str, doomed: dict[str, str], compress, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(small)
    process = start(tmp_path, doomed)
    wait_until_under_way(tmp_path, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert group_is_gone(process)

    process = start(tmp_path, doomed)
    wait_until_under_way(tmp_path, process)
    process.kill()  # itself alone: its children must not go on by themselves
    process.wait()
    assert group_is_gone(process)
    assert not (tmp_path / "runs/small/study.json").exists()

    said = compress("study", "small.toml", "--jobs", "2", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert timeless(json.loads((tmp_path / "runs/small/study.json").read_text())) == timeless(
        study.found
    )


def test_an_arm_that_fails_keeps_no_other_from_being_trained(
    small: str, python, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    text = small.replace('[student]\nmodel = "resnet8"', '[student]\nmodel = "broken:deaf"')
    text = text.replace('"at"\n', '"mse"\n').replace('"smskd-tcp"', '"alone", "sakd"')
    (tmp_path / "small.toml").write_text(text.replace("seeds = 2", "seeds = 1"))
    call = "import sys; sys.path.insert(0, '.'); from pipeline.cli import main; main()"
    said = python(call, "study", "small.toml", "--trust-code", cwd=tmp_path)
    assert said.code == 19  # the model does not go together with the method
    assert "1 of 4 failed: sakd, seed 0" in said.complaint
    assert "sakd, seed 0: failed: " in said.err
    found = json.loads((tmp_path / "runs/small/study.json").read_text())
    assert list(found["arms"]) == ["alone", "kd"]
    assert [line.partition(":")[0] for line in found["failed"]] == ["sakd, seed 0"]
    for report in ("report.html", "report.md"):
        assert "sakd, seed 0" in (tmp_path / "runs/small" / report).read_text()


@pytest.mark.slow
def test_what_happened_in_a_process_is_in_the_log_and_behind_the_error(
    small: str, python, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    text = small.replace('[student]\nmodel = "resnet8"', '[student]\nmodel = "broken:deaf"')
    text = text.replace('"at"\n', '"mse"\n').replace('"kd", "smskd-tcp"', '"sakd"')
    text = text.replace("seeds = 2", "seeds = 1")
    (tmp_path / "small.toml").write_text(text)
    call = "import sys; sys.path.insert(0, '.'); from pipeline.cli import main; main()"
    asked = ("--trust-code", "--traceback", "--log-file=study.log")
    said = python(call, "study", "small.toml", *asked, cwd=tmp_path)
    assert said.code == 19
    assert said.err.splitlines()[-1].startswith("error: 1 of 2 failed: sakd, seed 0: ")
    assert "pipeline.study.crew.WorkerError:" in said.err and "in train_arm" in said.err
    logged = [line.split() for line in (tmp_path / "study.log").read_text().splitlines()]
    ours = {words[1] for words in logged if words[3:4] == ["pipeline.study.crew:"]}
    teachers = {words[1] for words in logged if words[3:4] == ["smskd.training.loop:"]}
    assert len(ours) == len(teachers) == 1 and ours != teachers


def test_a_run_folder_is_not_taken_for_a_study(tmp_path: Path) -> None:
    start_run(tmp_path / "run", Recipe())
    with pytest.raises(RunMismatchError, match=r"a run lies here; .* --run"):
        start_study(tmp_path / "run", Recipe())


def test_a_study_is_bound_to_what_is_trained_and_not_to_what_is_compared(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    start_study(folder, Recipe())
    start_study(folder, Recipe(study=StudyRecipe(seeds=9)))
    with pytest.raises(RunMismatchError, match=r"another recipe lies here: student\.model is"):
        start_study(folder, Recipe(student=StudentRecipe(model="resnet20")))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--arms", "kd,smskd-tpc"], 12, "command line, study.arms[1]: unknown arm 'smskd-tpc'"),
        (["--seeds", "0"], 11, "study.seeds"),
        (["--scheduler", "head-node"], 11, "such as tcp://host:8786"),
        (["--set", "study.thread=2"], 11, "did you mean 'threads'?"),
    ],
)
def test_a_slip_on_the_command_line_is_told_of_before_any_work(
    study, compress, tmp_path: Path, *, arguments: list[str], code: int, words: str
) -> None:
    recipe = study.path.parent.parent / "small.toml"
    said = compress("study", recipe, *arguments, cwd=tmp_path)
    assert said.code == code
    assert words in said.complaint
    assert not (tmp_path / "runs").exists()


def test_a_damaged_result_is_told_of_and_the_others_stand(study, compress, tmp_path: Path) -> None:
    path = Path(shutil.copytree(study.path, tmp_path / "runs/small"))
    folder = StudyFolder(path, path / "teachers")
    shutil.copy(study.path.parent.parent / "small.toml", tmp_path)
    result = folder.arm("kd", 1) / "result.json"
    result.write_text("{")
    said = compress("study", "small.toml", cwd=tmp_path)
    assert said.code == 16
    assert said.err.count("done before") == 3
    assert str(result.relative_to(tmp_path)) in said.complaint
    assert len(json.loads(folder.findings.read_text())["arms"]["smskd-tcp"]["runs"]) == 2


@pytest.mark.slow
def test_studies_that_differ_in_their_stages_share_their_teachers(
    study, small: str, compress, tmp_path: Path
) -> None:
    """The second one trains no teacher, and neither loses its own facts of the data."""
    first = Path(shutil.copytree(study.path, tmp_path / "runs/small"))
    taught = first / "teachers/seed-0/teacher/weights.safetensors"
    before = (taught.stat().st_mtime_ns, (first / "data/facts.json").read_bytes())
    text = small.replace("epochs = 1\n\n[[stages]]", "epochs = 2\n\n[[stages]]")
    text = text.replace("student_fraction = 0.05", "student_fraction = 0.1")
    (tmp_path / "other.toml").write_text(text)
    more = ("--teachers", "runs/small/teachers", "--seeds", 1, "--arms", "kd", "--json")
    said = compress("study", "other.toml", *more, cwd=tmp_path)
    assert said.code == 0, said.err
    assert before == (taught.stat().st_mtime_ns, (first / "data/facts.json").read_bytes())
    assert not (tmp_path / "runs/other/teachers").exists()
    assert said.json()["teachers"]["0"] == study.found["teachers"]["0"]
    seen = [json.loads((tmp_path / f"runs/{name}/data/facts.json").read_text())
            for name in ("small", "other")]  # fmt: skip
    assert seen[0]["counts"]["student_train"] < seen[1]["counts"]["student_train"]

    other = text.replace("training = { epochs = 1 }", "training = { epochs = 2 }")
    (tmp_path / "third.toml").write_text(other)
    said = compress("study", "third.toml", *more, cwd=tmp_path)
    assert said.code == RunMismatchError.exit_code
    assert "made by another recipe: teacher.training.epochs is 1 there, 2 here" in said.err


@pytest.mark.slow
def test_the_student_that_a_run_trains_alone_is_the_arm_of_that_name(
    small: str, compress, tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(small)
    arm = ("--arms", "alone", "--seeds", 1, "--run", "runs/study")
    for command in (("study", "small.toml", *arm), ("distill", "small.toml", "--train-alone")):
        said = compress(*command, cwd=tmp_path)
        assert said.code == 0, said.err
    (trained,) = (tmp_path / "runs/study/arms/alone/seed-0").glob("*/weights.safetensors")
    assert (tmp_path / "runs/small/alone/weights.safetensors").read_bytes() == trained.read_bytes()
