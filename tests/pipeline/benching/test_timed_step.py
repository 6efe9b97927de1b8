"""The one step that times: skipped, gone on with, begun anew; all that it leaves is a result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import CorruptFileError, HostError
from foundation.files import write_json
from pipeline.benching.timed_step import timed_step
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, start_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return start_run(tmp_path / "run", Recipe.model_validate({"name": "any"}))


class Clock:
    """Times nothing: counts how often it is asked, and what it finds in its journal."""

    def __init__(self, *, cut: bool = False) -> None:
        self.cut, self.begun_with = cut, list[str | None]()

    def __call__(self, *, journal: Path, remark: Callable[[str], None]) -> dict[str, Any]:
        self.begun_with.append(journal.read_text() if journal.is_file() else None)
        journal.parent.mkdir(exist_ok=True)
        journal.write_text("a round")
        if self.cut:
            raise HostError("the link is cut")
        remark("timed")
        return {"ms": 1.0}


def timed(run: RunFolder, clock: Clock, *, way: str = "so", again: bool = False) -> Path:
    path = run.bench / "a.json"
    depends_on = {"way": way}
    return timed_step(run, "bench a", path, clock, write_json, depends_on=depends_on, again=again)


def test_what_was_timed_in_the_same_way_is_not_timed_again(run: RunFolder) -> None:
    clock = Clock()
    path = timed(run, clock)
    assert timed(run, clock) == path
    assert json.loads(path.read_text()) == {"ms": 1.0}
    assert len(clock.begun_with) == 1
    assert not path.with_suffix(".journal").exists()
    assert run.remarks() == {"bench a": ["timed"]}
    timed(run, clock, way="otherwise")
    assert len(clock.begun_with) == 2


def test_what_was_cut_leaves_its_journal_and_goes_on_with_it(run: RunFolder) -> None:
    with pytest.raises(HostError, match="the link is cut"):
        timed(run, Clock(cut=True))
    assert not (run.bench / "a.json").exists()
    clock = Clock()
    path = timed(run, clock)
    assert clock.begun_with == ["a round"]
    assert not path.with_suffix(".journal").exists()


def test_what_is_wanted_anew_begins_without_the_journal(run: RunFolder) -> None:
    timed(run, Clock())
    with pytest.raises(HostError):
        timed(run, Clock(cut=True), again=True)
    clock = Clock()
    timed(run, clock, again=True)
    assert clock.begun_with == [None]
    timed(run, clock)
    assert len(clock.begun_with) == 1, "what was timed anew is recorded as done"


def test_a_result_that_was_changed_is_told_and_not_timed_over(run: RunFolder) -> None:
    path = timed(run, Clock())
    path.write_text("{}")
    clock = Clock()
    with pytest.raises(CorruptFileError, match=r"a\.json: checksum differs"):
        timed(run, clock)
    assert clock.begun_with == []


def test_what_a_process_said_is_kept_until_it_is_timed_well(run: RunFolder) -> None:
    class Failing(Clock):
        def __call__(self, *, journal: Path, remark: Callable[[str], None]) -> dict[str, Any]:
            error = HostError("local: it died")
            error.process_output = "no numpy here\n"
            raise error

    words = run.logs / "a.stderr.txt"
    with pytest.raises(HostError) as caught:
        timed(run, Failing())
    assert str(caught.value) == f"local: it died; what it said is in {words}"
    assert words.read_text() == "no numpy here\n"
    timed(run, Clock())
    assert not words.exists()
