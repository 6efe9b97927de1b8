"""What is left of a bundle's latency when it was kept at work, held to a limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deploy_targets.device.messages import Conditions, Validity
from deploy_targets.device.stretches import Stretch
from deploy_targets.measurement import Measurement
from deploy_targets.measuring.holding import holding_of
from deploy_targets.sustained import Sustained
from foundation.errors import UsageError
from pipeline.gating.evidence import Evidence
from pipeline.gating.judging import judge
from pipeline.recipe.sections.gate import GateRecipe, Limit

METRIC = "sustained_latency_p95_ms"


def stretch(place: int, ms: float, p95: float | None, n: int = 400) -> Stretch:
    samples = " ".join([f"{1000 * ms:.1f}"] * n) if p95 is None else ""
    tail = p95 or ms
    return Stretch(place * 2.0, 2.0, n, ms, p95, max(tail, ms), samples, Conditions("during"))


def series(of: Measurement, p95s: list[float | None], n: int = 400, **changes: Any) -> Sustained:
    """Stretches of 2 s each with these 95th percentiles."""
    stretches = [stretch(place, 4.0, p95, n) for place, p95 in enumerate(p95s)]
    facts: dict[str, Any] = {
        "bundle": of.bundle, "host": of.host, "runtime": of.runtime, "scenario": of.scenario,
        "parity": of.parity, "asked_s": 2.0 * len(p95s), "stopped": None, "opening_s": 4.0,
        "warmup_n": 3, "stretches": stretches, "holding": holding_of(stretches, 4.0),
        "validity": Validity("valid", [], []), "seconds": 60.0,
        "started_at": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Sustained(**facts | changes)


def check_of(evidence: Evidence, **limit: float) -> Any:
    (check,) = judge(evidence, GateRecipe(limits={METRIC: Limit(**limit)})).checks
    return check


# The last third: 5.0 to 5.9, whose median's bounds are the least and the most.
RISING: list[float | None] = [4.5] * 20 + [5.0 + 0.1 * place for place in range(10)]


@pytest.mark.parametrize(("limit", "answer"), [(6.0, "pass"), (5.5, "inconclusive"), (4.9, "fail")])
def test_the_last_third_is_held_to_the_limit(student, limit: float, answer: str) -> None:
    check = check_of(Evidence([student], sustained=[series(student, RISING)]), max=limit)
    assert check.verdict == answer
    assert (check.low, check.high) == (5.0, 5.9)
    assert check.basis == "measured"
    assert not check.repeatable, "nobody waits for half an hour unasked"


def test_without_a_series_it_was_not_measured_and_fails(student, measured) -> None:
    others = [
        series(measured(host="far"), RISING), series(measured(sha="b"), RISING),
        series(measured(threads=2), RISING), series(measured(scenario="offline"), RISING),
    ]  # fmt: skip
    for evidence in (Evidence([student]), Evidence([student], sustained=others)):
        check = check_of(evidence, max=100.0)
        assert (check.verdict, check.value) == ("fail", None)
        assert "bench with --sustain 30m" in check.reason


def test_too_few_queries_leave_it_open(student) -> None:
    few = series(student, [None] * 30, n=4)
    check = check_of(Evidence([student], sustained=[few]), max=100.0)
    assert check.verdict == "inconclusive"
    assert "a p95 needs 130 queries" in check.reason


def test_a_series_that_was_stopped_or_is_still_falling_decides_nothing(student) -> None:
    whole = series(student, RISING)
    suspect = Validity("suspect", ["it was at work for 9 s of the 30 minutes"], [])
    falls = replace(whole.holding, verdict="falls", reason="it still gets slower at the end")
    for spoilt in (replace(whole, validity=suspect), replace(whole, holding=falls)):
        check = check_of(Evidence([student], sustained=[spoilt]), max=100.0)
        assert check.verdict == "inconclusive"
        assert "9 s of" in check.reason or "still gets slower" in check.reason
    cut = replace(whole, validity=suspect)
    both = check_of(Evidence([student], sustained=[cut, whole]), max=100.0)
    assert both.verdict == "pass", "one that nothing spoilt is there too"


def test_it_is_held_to_no_reference(student) -> None:
    rules = GateRecipe(limits={METRIC: Limit(max_regression=5, against="teacher")})
    with pytest.raises(UsageError, match="held to no reference"):
        judge(Evidence([student]), rules)
