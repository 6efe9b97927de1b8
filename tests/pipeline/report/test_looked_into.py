"""Where the time goes, and bundles at work, as words and as plots."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy_targets.device.facts import Facts
from deploy_targets.device.messages import (
    Conditions,
    ExecutedPrecision,
    Parity,
    RuntimeUsed,
    Scenario,
    Validity,
)
from deploy_targets.device.operator_times import Profiled, ProfiledOperator
from deploy_targets.device.stretches import Stretch
from deploy_targets.measurement import BundleMeasured, HostMeasured
from deploy_targets.measuring.holding import holding_of
from deploy_targets.operator_profile import OperatorProfile, RooflineShown
from deploy_targets.sustained import Sustained
from pipeline.report.looked_into import plots_of
from pipeline.shown.operators import kind_rows, notes_on, operator_rows, operator_tables
from pipeline.shown.sustained import sustained_lines, time_rows

RUNTIME = RuntimeUsed("onnxruntime", "1", 1, "f32", ExecutedPrecision("f32", {"f32": 2}))
HOST = HostMeasured(
    "local", Facts("a cpu", None, "x86_64", 2, 2, 4096, [], None, None, None, None, "3", "Linux")
)
BUNDLE = BundleMeasured("a-bundle", "student", "local", "onnx", "fp32", 1000, "a" * 64)
PROFILED = Profiled(
    RUNTIME,
    [
        ProfiledOperator("stem", "Conv", 0.5, "f32", "jit"),
        ProfiledOperator("body", "Conv", 1.5, "u8"),
        ProfiledOperator("head", "Gemm", 0.4, "f32"),
        ProfiledOperator("turn", "Transpose", 0.1),
    ],
    runs=10, warmup_n=3, rounds=5, whole_ms=3.0, whole_median_ms=2.9, unprofiled_ms=2.0, not_run=4,
)  # fmt: skip
PROFILE = OperatorProfile(
    bundle=BUNDLE, host=HOST, profiled=PROFILED,
    roofline=RooflineShown("rpi4", 4, {"convolutions": 0.8, "matrix products": 0.1, "all else": 0}),
    seconds=3.0, started_at="2026-01-01T00:00:00+00:00",
)  # fmt: skip


def test_rows_add_up_to_the_whole() -> None:
    rows = operator_rows(PROFILE, most=2)
    assert [row[0] for row in rows] == [
        "body", "stem", "2 others", "not in an operator", "the whole, profiled",
    ]  # fmt: skip
    times = [float(row[4]) for row in rows]
    assert sum(times[:-1]) == pytest.approx(times[-1]) and times[-1] == 3.0
    assert [row[5] for row in rows] == ["50.0%", "16.7%", "16.7%", "16.7%", "100.0%"]
    assert rows[1][2:4] == ["f32", "jit"]


def test_kinds_say_what_they_ran_in() -> None:
    rows = kind_rows(PROFILE)
    assert rows[0][:3] == ["Conv", "2", "f32 × 1, u8 × 1"]
    assert rows[1][:3] == ["Gemm", "1", "f32"]
    assert rows[2][:3] == ["Transpose", "1", "–"]


def test_notes_say_what_the_figures_rest_on() -> None:
    first, second, roofline = notes_on(PROFILE)
    assert "means of 10 inferences, the least disturbed of 5 rounds, after 3" in first
    assert "4 others took none of their own" in first
    assert "1.45 times as long" in second
    assert "target rpi4 at 4 threads" in roofline
    assert "convolutions 0.8 ms, taken 2; matrix products 0.1 ms, taken 0.4" in roofline


@pytest.mark.parametrize(
    "changes", [{"whole_median_ms": 1.0, "unprofiled_ms": 0.9}, {"unprofiled_ms": 9.0}]
)
def test_disturbed_figures_are_said_to_be(changes: dict[str, float]) -> None:
    profile = replace(PROFILE, profiled=replace(PROFILED, **changes))
    assert any(line.startswith("disturbed: ") for line in notes_on(profile))


def test_operators_of_single_microseconds_are_said_to_be_cut() -> None:
    many = [ProfiledOperator(f"n{i}", "Add", 0.002) for i in range(50)]
    tiny = replace(PROFILED, operators=many, whole_ms=0.2, whole_median_ms=0.2, unprofiled_ms=0.2)
    assert any(
        "of 50 operators, up to 0.05 ms" in line
        for line in notes_on(replace(PROFILE, profiled=tiny))
    )


def test_a_runtime_that_does_not_tell_has_a_line_and_no_plot() -> None:
    untold = replace(PROFILE, profiled=Profiled(RUNTIME, untold="it does not tell"))
    assert list(operator_tables(untold)) == [
        "Where the time goes: a-bundle on local: it does not tell"
    ]
    shown = plots_of([untold], [])
    assert shown.plots == [] and shown.untold == ["a-bundle on local: it does not tell."]


def test_bars_lie_beside_the_roofline() -> None:
    by_operator, by_kind, roofline = plots_of([PROFILE], []).operators
    assert by_operator.y.categories == [
        "body (Conv)", "stem (Conv)", "head (Gemm)", "turn (Transpose)", "not in an operator",
    ]  # fmt: skip
    assert sum(point[0] for point in by_operator.series[0].points) == pytest.approx(3.0)
    assert by_kind.y.categories == ["Conv", "Gemm", "Transpose", "not in an operator"]
    taken, least = roofline.series
    assert [point[0] for point in taken.points] == pytest.approx([2.0, 0.4, 0.1])
    assert [point[0] for point in least.points] == [0.8, 0.1, 0]


def series(temperature: float | None) -> Sustained:
    """A minute: full speed for six seconds, two thirds of it from then on."""
    stretches = []
    for at, long in [
        *((0.5 * i, 0.5) for i in range(12)),
        *((6.0 + 2 * i, 2.0) for i in range(27)),
    ]:
        ms, mhz = (4.0, 1800.0) if at < 6 else (6.0, 1200.0)
        seen = Conditions("during", None, mhz, temperature, at >= 6)
        stretches.append(Stretch(at, long, 400, ms, ms * 1.1, ms * 2, "", seen))
    return Sustained(
        bundle=BUNDLE, host=HOST, runtime=RUNTIME, scenario=Scenario(),
        parity=Parity(0.0, 0.0, 1.0, 5), asked_s=60.0, stopped=None, opening_s=6.0, warmup_n=3,
        stretches=stretches, holding=holding_of(stretches, 6.0),
        validity=Validity("suspect", ["others were at work"], []), seconds=61.0,
        started_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_a_series_is_a_row_for_the_opening_and_rows_for_the_rest() -> None:
    rows = time_rows(series(70.0), most=9)
    assert [row.at_s for row in rows] == [0.0, *(6.0 + 6 * i for i in range(9))]
    assert rows[0].speed == 1.0 and rows[1].speed == pytest.approx(2 / 3)
    assert (rows[0].throttled, rows[1].throttled) == (False, True)
    assert (rows[0].frequency_mhz, rows[9].frequency_mhz) == (1800.0, 1200.0)


def test_a_series_says_what_it_comes_to() -> None:
    words, test, facts, doubt = sustained_lines(series(70.0))
    assert words == "a-bundle: settles at 67 % (67 to 67) of its speed after 6 s"
    assert "Hodges and Lehmann" in test and "rank-sum test" in test
    assert facts == "clock 1800 → 1200 MHz; 70 °C at most; throttled for 54 s"
    assert doubt == "suspect: others were at work"


def test_speed_is_drawn_beside_the_clock_and_heat_where_it_is_told() -> None:
    latency, speed, heat = plots_of([], [series(70.0)]).sustained
    assert [mark.label for mark in latency.marks] == ["settled"]
    assert [one.name for one in latency.series] == ["p50", "p95"]
    ours, clock = speed.series
    assert ours.points[-1][1] == pytest.approx(100 * 2 / 3)
    assert clock.points[-1][1] == pytest.approx(100 * 2 / 3)
    assert {point[1] for point in heat.series[0].points} == {70.0}
    assert len(plots_of([], [series(None)]).sustained) == 2
