"""Trials in a real database that several processes share: each is done once, whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import HostError
from pipeline.gating.metrics import Figure
from pipeline.recipe.sections.search import SearchRecipe
from pipeline.search.folder import SearchFolder, SearchIdentity
from pipeline.search.points import TrialPoint
from pipeline.search.space import SearchAxis, SearchSpace
from pipeline.search.storage import SearchStudy

pytest.importorskip("optuna")

PATIENCE_S = 300
SPACE = SearchSpace(
    (
        SearchAxis("student.model", {"resnet8": "resnet8", "resnet14": "resnet14"}),
        SearchAxis("stages.0.epochs", None, 1, 8),
    )
)

# A process that works as the real one does, but for the training. It tells each trial that it
# begins, and with "hang" never ends its first.
WORKER = """
import json, sys, time
from pathlib import Path
from pipeline.search.points import TrialPoint
from foundation.records import build
from tests_space import study_in

folder, url, name, hang, point = Path(sys.argv[1]), *sys.argv[2:5], json.loads(sys.argv[5])
study = study_in(folder, url, trials=8)
while True:
    study.fail_lost()
    asked = study.ask()
    if asked is None:
        if any(one.state in ("running", "waiting") for one in study.known()):
            time.sleep(0.2)
            continue
        break
    with (folder / "begun.txt").open("a") as log:
        log.write(f"{name} {asked.number}\\n")
    if hang == "hang":
        time.sleep(3600)
    time.sleep(0.05)
    figures = {**point["figures"]}
    figures["latency_p50"] = dict.fromkeys(("value", "low", "high"), 1.0 + asked.number)
    facts = {**point, "trial": asked.number, "figures": figures, "params": dict(asked.params)}
    assert study.finish(asked, build(TrialPoint, facts))
study.close()
"""

SHARED = """
from pipeline.recipe.sections.search import SearchRecipe
from pipeline.search.folder import SearchFolder, SearchIdentity
from pipeline.search.space import SearchAxis, SearchSpace
from pipeline.search.storage import SearchStudy

SPACE = SearchSpace((
    SearchAxis("student.model", {"resnet8": "resnet8", "resnet14": "resnet14"}),
    SearchAxis("stages.0.epochs", None, 1, 8),
))

def study_in(folder, url, **settings):
    identity = SearchIdentity(id="small", storage=url, asked={})
    recipe = SearchRecipe(lost_after=6, **settings)
    return SearchStudy(identity, SearchFolder(folder), SPACE, recipe)
"""


def study_in(folder: Path, url: str, **settings: Any) -> SearchStudy:
    identity = SearchIdentity(id="small", storage=url, asked={})
    recipe = SearchRecipe(lost_after=2, **settings)
    return SearchStudy(identity, SearchFolder(folder), SPACE, recipe)


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'search.db'}"


class StorageWorkers:
    """Processes that work on one study."""

    def __init__(self, folder: Path, url: str, point: str) -> None:
        self.folder, self.url, self.point = folder, url, point
        (folder / "tests_space.py").write_text(SHARED)

    def start(self, name: str, how: str = "works") -> subprocess.Popen[str]:
        path = [str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, self.folder, self.url, name, how, self.point],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begun(self) -> list[tuple[str, int]]:
        path = self.folder / "begun.txt"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [(name, int(number)) for name, number in map(str.split, lines)]

    def wait_for(self, name: str, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not any(who == name for who, _ in self.begun()):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def a_point(point) -> TrialPoint:
    return point(0, "ffff", (1.0, 0.9, 1.1))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_processes_do_each_trial_once_though_a_third_is_killed(
    kind: str, request: pytest.FixtureRequest, a_point: TrialPoint, tmp_path: Path
) -> None:
    import json  # noqa: PLC0415

    from foundation.records import as_dict  # noqa: PLC0415

    url = request.getfixturevalue(kind)
    workers = StorageWorkers(tmp_path, url, json.dumps(as_dict(a_point)))
    doomed = workers.start("doomed", "hang")
    workers.wait_for("doomed", doomed)
    doomed.kill()
    doomed.communicate()
    two = [workers.start("one"), workers.start("two")]
    for process in two:
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err

    ((_, lost),) = [entry for entry in workers.begun() if entry[0] == "doomed"]
    times = Counter(number for _, number in workers.begun())
    assert times.pop(lost) == 2  # by the one that was killed, and once more
    assert set(times.values()) == {1}

    study = study_in(tmp_path, url, trials=8)
    known = study.known()
    study.close()
    assert [trial.state for trial in known] == ["finished"] * 8
    assert len({trial.number for trial in known}) == 8
    assert len({str(sorted(trial.params.items())) for trial in known}) == 8  # no point twice


def test_what_is_told_is_known_to_all(sqlite: str, a_point: TrialPoint, tmp_path: Path) -> None:
    one, other = (study_in(tmp_path, sqlite, trials=4) for _ in range(2))
    done, stopped, failed, running = (one.ask() for _ in range(4))
    assert done and stopped and failed and running
    assert one.ask() is None
    assert other.ask() is None
    assert one.finish(done, a_point)
    assert one.stop(stopped, "too large")
    assert one.fail(failed, "no memory")
    known = {trial.number: trial for trial in other.known()}
    assert [(known[number].state, known[number].reason) for number in range(4)] == [
        ("finished", None), ("hopeless", "too large"), ("failed", "no memory"), ("running", None),
    ]  # fmt: skip
    assert known[done.number].point == a_point
    for study in (one, other):
        study.close()


def test_a_trial_that_is_given_back_keeps_its_number_and_its_point(
    sqlite: str, tmp_path: Path
) -> None:
    study = study_in(tmp_path, sqlite, trials=1)
    first = study.ask()
    assert first is not None
    study.give_back(first)
    again = study.ask()
    assert again is not None
    assert (again.number, again.params) == (first.number, first.params)
    assert again.key != first.key
    assert study.ask() is None
    study.close()


def test_who_comes_too_late_is_told_so(sqlite: str, a_point: TrialPoint, tmp_path: Path) -> None:
    """A process that slept so long that another did its trial."""
    asleep, awake = (study_in(tmp_path, sqlite, trials=1) for _ in range(2))
    slow = asleep.ask()
    assert slow is not None
    asleep.close()  # it tells no more that it is alive
    deadline = time.monotonic() + PATIENCE_S
    while (taken := awake.ask()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert taken.number == slow.number
    assert awake.finish(taken, a_point)
    assert not asleep.finish(slow, a_point)
    assert [trial.state for trial in awake.known()] == ["finished"]
    awake.close()


def test_a_trial_that_is_lost_twice_has_failed(sqlite: str, tmp_path: Path) -> None:
    for _ in range(2):
        study = study_in(tmp_path, sqlite, trials=1)
        deadline = time.monotonic() + PATIENCE_S
        while study.ask() is None:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        study.close()
    study = study_in(tmp_path, sqlite, trials=1)
    while [trial.state for trial in study.known()] == ["running"]:
        assert time.monotonic() < deadline
        study.fail_lost()
        time.sleep(0.2)
    (trial,) = study.known()
    assert (trial.state, trial.number) == ("failed", 0)
    assert "not heard of any more, twice" in (trial.reason or "")
    assert study.ask() is None
    study.close()


def test_a_space_of_fewer_points_than_trials_ends_when_each_was_tried(
    sqlite: str, a_point: TrialPoint, tmp_path: Path
) -> None:
    study = study_in(tmp_path, sqlite, trials=100)
    drawn = []
    while (asked := study.ask()) is not None:
        drawn.append(tuple(sorted(asked.params.items())))
        study.finish(asked, a_point)
    study.close()
    assert len(drawn) == len(set(drawn)) == SPACE.size == 16


def test_the_same_seed_draws_the_same_and_another_does_not(
    a_point: TrialPoint, tmp_path: Path
) -> None:
    def drawn(folder: str, seed: int) -> list[dict[str, Any]]:
        url = f"sqlite:///{tmp_path / folder / 'search.db'}"
        study = study_in(tmp_path / folder, url, trials=10, seed=seed)
        points = []
        while (asked := study.ask()) is not None:
            points.append(dict(asked.params))
            figure = Figure.exact(asked.params["stages.0.epochs"])
            study.finish(asked, _with_latency(a_point, figure))
        study.close()
        return points

    assert drawn("a", 0) == drawn("b", 0) != drawn("c", 1)


def _with_latency(point: TrialPoint, figure: Figure) -> TrialPoint:
    from dataclasses import replace  # noqa: PLC0415

    return replace(point, figures={**point.figures, "latency_p50": figure})


def test_a_database_that_does_not_answer_is_told_in_a_line(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(HostError) as refused:
        study_in(tmp_path, f"postgresql://me@/search?host={tmp_path}", trials=1)
    message = str(refused.value)
    assert message.startswith(f"postgresql://me@/search?host={tmp_path}: the database")
    assert "the same command goes on" in message and "\n" not in message
