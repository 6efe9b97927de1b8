"""The gate's history: lines that are added whole, and drift that single verdicts let pass."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import pytest

from foundation.errors import CorruptFileError, MissingFileError
from pipeline.gating.formats import bmf
from pipeline.gating.history import (
    FEWEST_FOR_DRIFT,
    HistoryLine,
    ReleaseFigure,
    add_to_history,
    drift_of,
    read_history,
    series_of,
)
from pipeline.gating.verdict import Check, Verdict, verdict_of

HERE = {"bundle": "local-onnx-int8", "host": "local", "scenario": "single-stream", "runtime": "r"}


def verdict(p95: float, top1: float = 90.0) -> Verdict:
    """Both limits are kept by all that is judged here."""
    return verdict_of(
        [
            Check(
                **HERE, metric="latency_p95_ms", kind="max", limit=50.0, value=p95,
                low=p95 * 0.99, high=p95 * 1.01, basis="measured", verdict="pass", reason="kept",
            ),
            Check(
                **HERE, metric="top1_percent", kind="min", limit=50.0, value=top1,
                low=top1 - 1, high=top1 + 1, basis="measured", verdict="pass", reason="kept",
            ),
            Check(
                **HERE, metric="latency_p95_ms", kind="max_regression", limit=5.0, value=3.0,
                low=2.0, high=4.0, against="baseline", basis="measured", verdict="pass",
                reason="kept",
            ),
        ]
    )  # fmt: skip


def points(values: Sequence[float]) -> list[ReleaseFigure]:
    return [
        ReleaseFigure("t", None, None, value, value - 0.1, value + 0.1, "pass") for value in values
    ]


def add_many(path: Path, of: int) -> None:
    for number in range(40):
        add_to_history(path, verdict(1.0 + number), release=f"{of}.{number}", commit=None)


class TestTheFile:
    def test_what_is_added_is_read_again(self, tmp_path: Path) -> None:
        path = tmp_path / "history.jsonl"
        add_to_history(path, verdict(2.0), release="v1", commit="abc")
        add_to_history(path, verdict(3.0), release=None, commit=None)
        first, second = read_history(path)
        assert (first.release, first.commit, first.verdict) == ("v1", "abc", "pass")
        assert first.checks == verdict(2.0).checks
        assert second.release is None

    def test_a_line_that_was_broken_off_goes_and_the_others_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "history.jsonl"
        add_to_history(path, verdict(2.0), release="v1", commit=None)
        whole = path.read_bytes()
        path.write_bytes(whole + whole[:100])
        assert [line.release for line in read_history(path)] == ["v1"]
        add_to_history(path, verdict(3.0), release="v2", commit=None)
        assert [line.release for line in read_history(path)] == ["v1", "v2"]

    def test_processes_that_add_at_once_lose_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "history.jsonl"
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=add_many, args=(path, of)) for of in (1, 2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        releases = [line.release for line in read_history(path)]
        assert sorted(r for r in releases if r) == sorted(
            f"{of}.{n}" for of in (1, 2) for n in range(40)
        )

    @pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"kind": "other"}'])
    def test_another_line_is_refused_with_its_number(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "history.jsonl"
        add_to_history(path, verdict(2.0), release=None, commit=None)
        path.write_text(path.read_text() + text + "\n")
        with pytest.raises(CorruptFileError, match=r"history\.jsonl: line 2 is not a verdict"):
            read_history(path)

    @pytest.mark.parametrize("text", ["a note of mine", "mine\n", '{"kind": "study-results"}\n'])
    def test_a_file_that_is_something_else_is_left_as_it_is(
        self, tmp_path: Path, text: str
    ) -> None:
        path = tmp_path / "notes.txt"
        path.write_text(text)
        with pytest.raises(CorruptFileError, match="not a history of the gate"):
            add_to_history(path, verdict(2.0), release=None, commit=None)
        assert path.read_text() == text

    def test_a_link_is_not_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "other").write_text("")
        (tmp_path / "history.jsonl").symlink_to(tmp_path / "other")
        with pytest.raises(OSError, match="symbolic link"):
            add_to_history(tmp_path / "history.jsonl", verdict(2.0), release=None, commit=None)
        assert (tmp_path / "other").read_text() == ""

    def test_none_yet_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="no history yet"):
            read_history(tmp_path / "history.jsonl")


class TestDrift:
    def test_a_metric_that_gets_worse_each_time_is_found_with_its_size(self) -> None:
        found = drift_of("latency_p95_ms", points([10.0, 10.2, 10.4, 10.6, 10.8, 11.0]))
        assert found is not None
        # every pair in order: 2 of 720 orders are as extreme, and every slope is 0.2 of 10 ms
        assert (found.tau, found.releases) == (pytest.approx(1.0), 6)
        assert found.p == pytest.approx(2 / 720)
        assert (found.change, found.low, found.high) == pytest.approx((10.0, 10.0, 10.0))

    def test_an_accuracy_drifts_down_and_is_told_in_points(self) -> None:
        found = drift_of("top1_percent", points([90.0, 89.8, 89.7, 89.5, 89.4, 89.2, 89.1]))
        assert found is not None
        assert found.change == pytest.approx(0.9, abs=0.02)

    @pytest.mark.parametrize(
        ("metric", "values"),
        [
            ("latency_p95_ms", [11.0, 10.8, 10.6, 10.4, 10.2, 10.0]),  # it gets better
            ("throughput_ips", [100.0, 102.0, 104.0, 106.0, 108.0, 110.0]),
            ("latency_p95_ms", [10.0, 10.9, 10.1, 10.8, 10.2, 10.7, 10.3]),  # up and down
            ("latency_p95_ms", [10.0, 10.01, 10.02, 10.03, 10.04, 10.05]),  # half a percent
            ("latency_p95_ms", [10.0, 11.0, 12.0, 13.0, 14.0]),  # five may be chance
            ("size_mb", [1.0] * 9),
        ],
    )
    def test_what_may_be_chance_or_is_no_matter_is_none(
        self, metric: str, values: list[float]
    ) -> None:
        assert drift_of(metric, points(values)) is None

    def test_of_a_history_each_metric_is_a_series_and_regressions_are_none(self) -> None:
        lines = [
            HistoryLine(at=f"2030-01-0{day}", release=f"v{day}", verdict="pass",
                        checks=verdict(10.0 + 0.3 * day).checks)
            for day in range(1, 1 + FEWEST_FOR_DRIFT)
        ]  # fmt: skip
        latency, accuracy = series_of([*lines, lines[-1]])
        assert (latency.metric, accuracy.metric) == ("latency_p95_ms", "top1_percent")
        # what was judged twice on the same measurement is one release
        assert [point.release for point in latency.points] == ["v1", "v2", "v3", "v4", "v5", "v6"]
        assert latency.drift is not None
        assert (len(accuracy.points), accuracy.drift) == (6, None)


def test_bencher_is_told_each_figure_with_its_interval() -> None:
    ((name, measures),) = json.loads(bmf(verdict(2.0))).items()
    assert name == "local-onnx-int8@local"
    assert measures == {
        "latency_p95_ms": {"value": 2.0, "lower_value": 1.98, "upper_value": 2.02},
        "top1_percent": {"value": 90.0, "lower_value": 89.0, "upper_value": 91.0},
        "latency_p95_ms against baseline": {"value": 3.0, "lower_value": 2.0, "upper_value": 4.0},
    }
