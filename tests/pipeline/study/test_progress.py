"""What a study tells while it runs: of each process how far it is, in a log now and then."""

from __future__ import annotations

from typing import Any

import pytest
from pulsing import Clock, Log

from pipeline.recipe.file import load_recipe
from pipeline.shown.pulse import EVERY_S
from pipeline.study.arms import chosen_arms
from pipeline.study.folder import StudyFolder
from pipeline.study.progress import study_display
from pipeline.study.tasks import Task
from pipeline.study.worker import Teller


@pytest.fixture
def tasks(tmp_path) -> list[Task]:
    """A teacher of 60 epochs and an arm of one stage."""
    overrides = {
        "teacher.training.epochs": 60,
        "stages": [{"methods": "kd", "epochs": 4}],
        "study.arms": ["kd"],
    }
    file, folder = load_recipe(None, overrides), StudyFolder(tmp_path, tmp_path / "teachers")
    arm = chosen_arms(file)["kd"]
    return [Task(file, folder, None, 0), Task(file, folder, arm, 0)]


def test_a_log_tells_how_far_a_teacher_is_that_trains_for_half_an_hour(tasks: list[Task]) -> None:
    log = Log(Clock())
    with study_display(log, len(tasks)) as display:
        teacher = display.started(tasks[0])
        (line,) = log.after(EVERY_S)
        assert line.endswith("study, 0 %, 0 of 2 done; teacher, seed 0, 0 %, getting ready")
        teacher.stage_started("alone", 60, 0)
        teacher.batch_done(30, 40)
        (line,) = log.after(EVERY_S)
        assert "teacher, seed 0, 1 %, stage 1 alone · epoch 1/60  · 30/40 batches" in line
        teacher.epoch_done({"epoch": 30, "val_top1": 0.5})
        (line,) = log.after(EVERY_S)
        assert (
            "study, 25 %, 0 of 2 done; teacher, seed 0, 50 %, stage 1 alone · epoch 30/60" in line
        )
        assert line.endswith("val 50.00 %")
        display.ended(tasks[0], None)
        arm = display.started(tasks[1])
        arm.batch_done(1, None)
        (line,) = log.after(EVERY_S)
        assert line.endswith("study, 50 %, 1 of 2 done; kd, seed 0, 0 %, getting ready")


def test_a_worker_tells_of_batches_now_and_then_and_of_epochs_each_time() -> None:
    sent: list[tuple[str, tuple[Any, ...]]] = []

    class Connection:
        send = sent.append

    clock = Clock()
    teller = Teller(Connection(), clock)
    for batch in range(1, 13):
        clock.now += 1
        teller.batch_done(batch, 100)
    teller.epoch_done({"epoch": 1})
    teller.epoch_done({"epoch": 2})
    assert sent == [
        ("batch_done", (5, 100)), ("batch_done", (10, 100)),
        ("epoch_done", ({"epoch": 1},)), ("epoch_done", ({"epoch": 2},)),
    ]  # fmt: skip
