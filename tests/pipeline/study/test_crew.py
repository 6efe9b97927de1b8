"""The order of a study's tasks, and that one whose process is killed is begun again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from studies import PATIENCE_S, begun, timeless

from foundation.errors import HostError
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import start_run
from pipeline.study.arms import chosen_arms
from pipeline.study.crew import Failure, News, carry_out_all, failure_of_exit
from pipeline.study.folder import StudyFolder
from pipeline.study.news import ENDED, STARTED
from pipeline.study.processes import Processes
from pipeline.study.study import list_tasks
from pipeline.study.tasks import Task
from smskd.listening import Listener

COMPRESS = Path(sys.executable).with_name("compress")


class Notes:
    """Writes down what a watcher is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, task: Task) -> Listener:
        self.lines.append(f"started {task.name}")
        return Listener()

    def interrupted(self, task: Task, why: str) -> None:
        self.lines.append(f"interrupted {task.name}: {why}")

    def ended(self, task: Task, failure: Failure | None) -> None:
        self.lines.append(f"ended {task.name}: {failure.message if failure else 'well'}")


class Scripted:
    """A workplace with room for one, where each task comes to the next of its ends."""

    def __init__(self, **ends: list[int | None]) -> None:
        self.ends, self.now, self.is_open = ends, list[Task](), True

    def has_room_for(self, task: Task) -> bool:
        return not self.now

    def begin(self, task: Task) -> None:
        self.now.append(task)

    def news(self) -> Iterator[News]:
        task = self.now.pop()
        name = task.arm.name if task.arm else "teacher"
        code = self.ends[name].pop(0)
        if code is None:
            raise HostError("gone")
        yield News(task, STARTED, ("here",))
        yield News(task, ENDED, (failure_of_exit(task, code),))

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def tasks(tmp_path: Path) -> list[Task]:
    """A teacher and the arms alone and kd, whose results would lie in an empty folder."""
    file = load_recipe(None, {"study.arms": ["alone", "kd"], "study.seeds": 1})
    folder = StudyFolder(tmp_path, tmp_path / "teachers")
    return list_tasks(file, folder, chosen_arms(file))


def test_arms_whose_teacher_failed_are_not_begun_and_fail_as_it_did(tasks: list[Task]) -> None:
    notes, place = Notes(), Scripted(teacher=[3])
    failures = carry_out_all(tasks, place, notes, retries=2)
    assert notes.lines == [
        "started teacher, seed 0",
        "ended teacher, seed 0: its process ended with exit code 3; run the same command to go on",
        "ended alone, seed 0: its teacher failed",
        "ended kd, seed 0: its teacher failed",
    ]
    assert {failure.exit_code for failure in failures} == {9}
    assert not place.is_open


def test_a_task_that_is_killed_is_begun_again_so_often_and_no_more(tasks: list[Task]) -> None:
    notes, teacher = Notes(), tasks[:1]
    assert not carry_out_all(teacher, Scripted(teacher=[-9, -15, 0]), notes, retries=2)
    again = "interrupted teacher, seed 0: its process was killed by"
    assert notes.lines[1::2] == [
        f"{again} SIGKILL, perhaps for want of memory", f"{again} SIGTERM",
        "ended teacher, seed 0: well",
    ]  # fmt: skip
    (failure,) = carry_out_all(teacher, Scripted(teacher=[-9, -9, 0]), Notes(), retries=1)
    assert failure.message.startswith("its process was killed by SIGKILL")


def test_a_task_that_fails_by_itself_is_not_begun_again(tasks: list[Task]) -> None:
    (failure,) = carry_out_all(tasks[:1], Scripted(teacher=[3, 0]), Notes(), retries=2)
    assert "exit code 3" in failure.message


def test_a_place_that_is_gone_ends_it_and_is_closed(tasks: list[Task]) -> None:
    place = Scripted(teacher=[None])
    with pytest.raises(HostError, match="gone"):
        carry_out_all(tasks, place, Notes(), retries=2)
    assert not place.is_open


def test_a_teacher_of_more_threads_takes_the_place_of_several_arms(tmp_path: Path) -> None:
    settings = {"study.arms": ["kd"], "study.seeds": 2, "study.teacher_threads": 2}
    file = load_recipe(None, settings)
    folder = StudyFolder(tmp_path, tmp_path / "teachers")
    teacher, arm, other, _ = list_tasks(file, folder, chosen_arms(file))
    assert [task.threads for task in (teacher, arm, other)] == [2, 1, 2]
    one, three = Processes(1, 1), Processes(3, 1)
    try:
        assert one.has_room_for(teacher)  # all to itself, or never
        three.begin(teacher)
        assert three.has_room_for(arm)
        assert not three.has_room_for(other)
    finally:
        three.close()


def test_one_teacher_for_all_comes_first_and_may_be_of_a_seed_that_no_arm_has(
    tmp_path: Path,
) -> None:
    settings = {"seed": 100, "study.arms": ["kd"], "study.seeds": 2, "study.teacher_seed": 0}
    file = load_recipe(None, settings)
    tasks = list_tasks(file, StudyFolder(tmp_path, tmp_path), chosen_arms(file))
    assert [task.name for task in tasks] == ["teacher, seed 0", "kd, seed 100", "kd, seed 101"]
    assert {task.teacher_seed for task in tasks} == {0}


def test_a_teacher_that_was_begun_keeps_its_threads(tasks: list[Task]) -> None:
    teacher, *arms = tasks
    run = start_run(teacher.folder, teacher.file.recipe)
    assert teacher.threads == 1
    run.note(threads=3)
    assert teacher.threads == 3
    assert {arm.threads for arm in arms} == {1}
    run.record_path.write_text("{")  # told of where it is trained
    assert teacher.threads == 1


def test_an_arm_whose_process_is_killed_is_begun_again_and_the_figures_are_the_same(
    study, small: str, doomed: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "small.toml").write_text(small)
    few = ("--jobs", "1", "--seeds", "1", "--arms", "smskd-tcp", "--log-file", "study.log")
    with subprocess.Popen(
        [COMPRESS, "study", "small.toml", *few, "--json"],
        cwd=tmp_path, env=doomed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        os.kill(begun(tmp_path / "study.log", "smskd-tcp, seed 0", command), signal.SIGKILL)
        out, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 0, err
    assert "smskd-tcp, seed 0: begun again: its process was killed by SIGKILL" in err
    ours = json.loads(out)["arms"]["smskd-tcp"]["runs"]
    assert timeless(ours) == timeless(study.found["arms"]["smskd-tcp"]["runs"][:1])
