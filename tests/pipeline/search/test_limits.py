"""Limits as they are typed: figures, units, and what whole intervals make of them."""

from __future__ import annotations

import pytest

from foundation.errors import CompressError, UnknownNameError, UsageError
from pipeline.gating.metrics import Figure
from pipeline.search.limits import parse_limits


@pytest.mark.parametrize(
    ("text", "figure", "sign", "bound"),
    [
        ("latency_p95<=20ms", "latency_p95", "<=", 20),
        ("latency_p50 < 0.02 s", "latency_p50", "<", 20),
        ("latency_p99<=500us", "latency_p99", "<=", 0.5),
        ("size<=2MB", "size", "<=", 2),
        ("size<=500kB", "size", "<=", 0.5),
        ("memory<=64MB", "memory", "<=", 61.03515625),
        ("energy<=3mJ", "energy", "<=", 0.003),
        ("accuracy>=95", "accuracy", ">=", 95),
        ("accuracy>=95%", "accuracy", ">=", 95),
        ("accuracy_drop<=1.5", "accuracy_drop", "<=", 1.5),
        ("metric>=0.9", "metric", ">=", 0.9),
    ],
)
def test_a_limit_is_read_in_its_figures_own_unit(
    text: str, figure: str, sign: str, bound: float
) -> None:
    (limit,) = parse_limits(text)
    assert (limit.figure, limit.sign) == (figure, sign)
    assert limit.bound == pytest.approx(bound)
    assert parse_limits(limit.words) == [limit]


@pytest.mark.parametrize("text", ["size<=2MB and accuracy>=95", "size<=2MB,accuracy>=95"])
def test_several_are_parted_by_and_or_a_comma(text: str) -> None:
    assert [limit.figure for limit in parse_limits(text)] == ["size", "accuracy"]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", UsageError, "'' is no limit"),
        ("fast", UsageError, "'fast' is no limit"),
        ("latency_p95=20ms", UsageError, "is no limit; write it like"),
        ("latency_p95<=ms", UsageError, "is no limit"),
        ("latency_p95<=1.2.3ms", UsageError, "'1.2.3' in 'latency_p95<=1.2.3ms' is no number"),
        ("latency_p95<=20MB", UsageError, "is in MB, but latency_p95 is in ms or us"),
        ("latency_p94<=20ms", UnknownNameError, "did you mean 'latency_p9"),
        ("acuracy>=95", UnknownNameError, "did you mean 'accuracy'"),
        ("size<=2MB and", UsageError, "is no limit"),
    ],
)
def test_what_is_no_limit_is_told_in_a_line(
    text: str, kind: type[CompressError], words: str
) -> None:
    with pytest.raises(kind) as refused:
        parse_limits(text)
    assert words in str(refused.value)
    assert str(refused.value).startswith("--pick: ")


@pytest.mark.parametrize(
    ("text", "low", "high", "answer"),
    [
        ("latency_p50<=2ms", 1.5, 2.0, "kept"),
        ("latency_p50<2ms", 1.5, 2.0, "undecided"),
        ("latency_p50<=2ms", 1.9, 2.1, "undecided"),
        ("latency_p50<=2ms", 2.1, 2.2, "broken"),
        ("accuracy>=90", 90.0, 95.0, "kept"),
        ("accuracy>=90", 89.0, 95.0, "undecided"),
        ("accuracy>95", 89.0, 95.0, "broken"),
    ],
)
def test_a_limit_is_kept_by_a_whole_interval(
    text: str, low: float, high: float, answer: str
) -> None:
    (limit,) = parse_limits(text)
    assert limit.holds(Figure((low + high) / 2, low, high)) == answer


def test_what_was_not_measured_is_undecided() -> None:
    (limit,) = parse_limits("energy<=1J")
    assert limit.holds(None) == "undecided"
