"""Log lines: where they go, what is in them, and that nothing ever comes of them but lines."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation import logs
from foundation.errors import UsageError

OURS, THEIRS = logging.getLogger("smskd.some.module"), logging.getLogger("matplotlib.some")


@pytest.fixture(autouse=True)
def _afterwards_as_before() -> Iterator[None]:
    level = logging.root.level
    yield
    logs.stop()
    logging.root.setLevel(level)


def say_all() -> None:
    for number, logger in ((1, OURS), (2, THEIRS)):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            logger.log(level, "from %d at %s", number, logging.getLevelName(level))


@pytest.mark.parametrize(
    ("verbosity", "ours", "theirs"),
    [
        (0, [], []),
        (1, ["INFO", "WARNING"], ["WARNING"]),
        (2, ["DEBUG", "INFO", "WARNING"], ["INFO", "WARNING"]),
        (3, ["DEBUG", "INFO", "WARNING"], ["DEBUG", "INFO", "WARNING"]),
        (9, ["DEBUG", "INFO", "WARNING"], ["DEBUG", "INFO", "WARNING"]),
    ],
)
def test_how_much_is_told_depends_on_how_often_it_was_asked_for(
    verbosity: int, ours: list[str], theirs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.start(verbosity, None)
    say_all()
    lines = capsys.readouterr().err.splitlines()
    # Without a handler of anybody's, Python itself prints warnings of other people's libraries.
    lines = [line for line in lines if line.startswith("[")]
    expected = [f"{level} smskd.some.module: from 1 at {level}" for level in ours]
    expected += [f"{level} matplotlib.some: from 2 at {level}" for level in theirs]
    assert [line.partition("] ")[2] for line in lines] == expected


def test_a_file_gets_all_of_ours_with_the_time_and_is_added_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.log"
    file.write_text("before\n")
    logs.start(0, file)
    say_all()
    before, *lines = file.read_text().splitlines()
    assert before == "before"
    assert [line.split()[2:4] for line in lines] == [
        *(([level, "smskd.some.module:"]) for level in ("DEBUG", "INFO", "WARNING")),
        *(([level, "matplotlib.some:"]) for level in ("INFO", "WARNING")),
    ]
    assert all(line.split()[0][10] == "T" and line.split()[1] == str(os.getpid()) for line in lines)
    assert capsys.readouterr() == ("", "")


def test_a_line_has_no_password_and_nothing_that_a_terminal_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as alone:
        # What pytest captures it passes on between its processes, which half a character ends.
        alone.setattr(logging.root, "handlers", [])
        logs.start(0, tmp_path / "a.log")
        OURS.info(
            "asked %s", "ssh://pi:se/cret@far/x and\nhttps://me:geheim@host, \x1b[31mred\ud800"
        )
        try:
            raise ValueError("of ssh://pi:secret@far \x1b]0;title\x07")
        except ValueError:
            OURS.exception("it failed")
        logs.stop()
    text = (tmp_path / "a.log").read_text()
    assert not [word for word in ("cret", "geheim", "\x1b", "\x07") if word in text]
    assert "asked ssh://pi:…@far/x and https://me:…@host, \\x1b[31mred\\ud800\n" in text
    assert "Traceback (most recent call last):\n" in text


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("no/such/a.log", "there is no such folder; make it"),
        (".", "Is a directory; choose another file"),
        ("x\0y", "embedded null byte"),
        ("n" * 300, "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_wrong_use(tmp_path: Path, place: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        logs.start(1, tmp_path / place)
    assert logs.needed_level() > logging.CRITICAL


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_costs_lines_and_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.start(0, Path("/dev/full"))
    say_all()
    reason = os.strerror(errno.ENOSPC)
    assert capsys.readouterr().err == f"note: /dev/full: {reason}; the log is not whole\n"


def test_a_line_that_cannot_be_made_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.start(1, tmp_path / "a.log")
    broken = OURS.makeRecord(OURS.name, logging.INFO, __file__, 1, "%d of them", ("many",), None)
    for handler in logging.root.handlers:
        if type(handler).__module__ == logs.__name__:  # pytest has one of its own, which minds
            handler.handle(broken)
    OURS.info("next")
    assert (tmp_path / "a.log").read_text().endswith(": next\n")
    assert "Traceback" not in capsys.readouterr().err


def test_another_process_passes_its_lines_on(tmp_path: Path) -> None:
    logs.start(0, tmp_path / "a.log")
    level, sent = logs.needed_level(), []
    assert level == logging.DEBUG
    logs.stop()
    logs.pass_on(sent.append, level)
    try:
        raise ValueError("why")
    except ValueError:
        OURS.warning("of %s", object(), exc_info=True)
    THEIRS.error("is not passed on")
    (record,) = sent
    assert record.args is None and record.exc_info is None and "ValueError: why" in record.exc_text
    logs.start(0, tmp_path / "a.log")
    logging.getLogger(record.name).handle(record)
    assert "WARNING smskd.some.module: of <object" in (tmp_path / "a.log").read_text()


def test_nothing_is_passed_on_where_nobody_wants_it() -> None:
    before = list(logging.root.handlers)
    logs.pass_on(print, logs.needed_level())
    assert logging.root.handlers == before


@pytest.mark.parametrize(
    "module",
    [
        "foundation.files", "smskd.stage", "export.requests", "deploy_targets.measuring.measure",
        "pipeline.run_folder.folder",
    ],
)  # fmt: skip
def test_importing_us_sets_up_no_logging_and_prints_nothing(module: str) -> None:
    code = (
        f"import logging, {module}\n"
        f"logging.getLogger('{module}').error('unheard')\n"
        "assert logging.root.handlers == [] and logging.root.level == logging.WARNING\n"
        f"assert logging.getLogger('{module.partition('.')[0]}').level == logging.NOTSET\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
