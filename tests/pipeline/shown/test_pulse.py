"""In a log, a long command tells now and then what is under way; no test waits for that."""

from __future__ import annotations

import io
import threading

import pytest
from pulsing import Clock, Log
from rich.console import Console
from rich.progress import TextColumn

from pipeline.shown.console import ProgressConsole, at_work
from pipeline.shown.live import LiveLines, live_lines
from pipeline.shown.pulse import EVERY_S, Pulse, duration
from pipeline.shown.training import TrainingDisplay


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log(clock)


def test_nothing_is_told_before_it_is_time_and_a_line_each_time_after_it(log: Log) -> None:
    with at_work(log, "teacher"):
        assert log.after(EVERY_S - 1) == []
        assert log.after(1) == ["  under way for 30 s: teacher"]
        assert log.after(1) == []
        assert log.after(EVERY_S) == ["  under way for 1 min 1 s: teacher"]
    assert log.after(EVERY_S) == []


def test_lines_that_are_told_anyway_put_it_off(log: Log) -> None:
    with at_work(log, "teacher"):
        log.after(EVERY_S - 1)
        log.print("epoch 1")
        assert log.after(EVERY_S - 1) == []
        assert log.after(1) == ["  under way for 59 s: teacher"]


def test_the_innermost_is_told_of_and_then_again_what_it_was_part_of(log: Log) -> None:
    with at_work(log, "export") as work:
        work.now = "export: made a [bold] \x1b[31mbundle"
        with at_work(log, "timing"):
            assert log.after(EVERY_S) == ["  under way for 30 s: timing"]
        assert log.after(EVERY_S) == [
            "  under way for 1 min 0 s: export: made a [bold] \\x1b[31mbundle"
        ]


def test_what_several_threads_work_on_is_told_in_one_line(log: Log) -> None:
    begun, over = threading.Barrier(3), threading.Event()

    def work(name: str) -> None:
        with at_work(log, "a host"), at_work(log, name):
            begun.wait()
            over.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    begun.wait()
    (line,) = log.after(EVERY_S)
    over.set()
    for thread in threads:
        thread.join()
    assert sorted(line.removeprefix("  under way for 30 s: ").split("; ")) == ["one", "two"]
    assert log.after(EVERY_S) == []


def test_live_lines_are_told_with_heading_share_and_figures(log: Log) -> None:
    with live_lines(log) as lines:
        lines.heading = "study"
        lines.add_task("  [bold]one[/bold]", total=8, completed=2, figures="val 60 %")
        lines.add_task("two", total=None, figures="")
        assert log.after(EVERY_S) == ["  under way for 30 s: study: one, 25 %, val 60 %; two"]
    assert log.after(EVERY_S) == []


def test_lines_with_columns_of_their_own_need_no_figures(log: Log) -> None:
    with LiveLines(log, TextColumn("{task.description}")) as lines:
        lines.add_task("measuring", total=None)
        assert log.after(EVERY_S) == ["  under way for 30 s: measuring"]


def test_training_is_told_within_an_epoch(log: Log) -> None:
    display = TrainingDisplay(log, "teacher: ")
    with at_work(log, "teacher: got ready"):
        display.stage_started("alone", 4, 0)
        display.batch_done(1, 2)
        assert log.after(EVERY_S) == ["  under way for 30 s: teacher: alone: epoch 1/4, 12 %"]
        display.views_started(3, 0)
        display.view_done()
        (line,) = log.after(EVERY_S)
        assert line.startswith("  under way for 1 min 0 s: teacher: teacher's views: ")
        display.close()
        assert log.after(EVERY_S) == ["  under way for 1 min 30 s: teacher: got ready"]


def test_a_thread_tells_by_itself_and_ends_with_the_work() -> None:
    told = threading.Event()
    pulse = Pulse(lambda _line: told.set(), every_s=0.01)
    before = threading.active_count()
    with pulse.phase(lambda: "work"):
        assert told.wait(60)
        assert threading.active_count() == before + 1
    for thread in threading.enumerate():
        if thread.daemon and "_run" in thread.name:
            thread.join(60)
    assert threading.active_count() == before


def test_a_status_that_cannot_be_told_fails_no_work() -> None:
    asked = threading.Event()

    def broken() -> str:
        asked.set()
        raise RuntimeError("no status")

    with Pulse(print, every_s=0.01).phase(broken):
        assert asked.wait(60)


def test_on_a_terminal_and_where_another_process_speaks_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ProgressConsole().pulse is not None
    monkeypatch.setenv("RANK", "1")
    assert ProgressConsole().pulse is None
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ProgressConsole().pulse is None
    with at_work(Console(file=io.StringIO()), "of any console") as work:
        work.now = "this is heard by nobody"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599.6, "1 h 0 min"), (11_220, "3 h 7 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
