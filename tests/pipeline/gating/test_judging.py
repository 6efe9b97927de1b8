"""Three answers, worked out by hand from intervals that are written down."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from deploy_targets.device.messages import Memory, Started, Startup
from deploy_targets.estimating.calibration import Range
from deploy_targets.estimating.estimate import Basis, Estimate
from foundation.errors import MissingFileError, UnknownNameError, UsageError
from pipeline.gating.evidence import Baseline, Evidence
from pipeline.gating.judging import judge
from pipeline.gating.metrics import METRICS, PROCESSES_DIFFER, Figure, drop, metric_named, quotient
from pipeline.recipe.sections.gate import GateRecipe, Limit


def budget(metric: str, **limit: object) -> GateRecipe:
    return GateRecipe(limits={metric: Limit(**limit)})


def only(evidence: Evidence, rules: GateRecipe, baseline: Baseline | None = None):
    (check,) = judge(evidence, rules, baseline).checks
    return check


class TestALatencyLimit:
    # p50 is 2.0, between 1.9 and 2.1.
    @pytest.mark.parametrize(
        ("limit", "answer"),
        [
            ({"max": 2.2}, "pass"),
            ({"max": 2.1}, "pass"),
            ({"max": 2.09}, "inconclusive"),
            ({"max": 1.9}, "inconclusive"),
            ({"max": 1.89}, "fail"),
            ({"min": 1.9}, "pass"),
            ({"min": 1.91}, "inconclusive"),
            ({"min": 2.1}, "inconclusive"),
            ({"min": 2.11}, "fail"),
        ],
    )
    def test_is_kept_when_all_of_the_interval_is_within_and_broken_when_all_is_beyond(
        self, student, limit, answer
    ) -> None:
        check = only(Evidence([student]), budget("latency_p50_ms", **limit))
        assert check.verdict == answer
        assert (check.value, check.low, check.high) == (2.0, 1.9, 2.1)
        assert check.basis == "measured"

    def test_is_undecided_when_the_measurement_is_suspect_however_clear_the_figures(
        self, measured
    ) -> None:
        noisy = measured(suspect=["other processes took 40 % of the CPU", "it drifted"])
        for bound in (100.0, 0.1):
            check = only(Evidence([noisy]), budget("latency_p50_ms", max=bound))
            assert check.verdict == "inconclusive"
            assert "40 % of the CPU; it drifted" in check.reason
            assert check.repeatable

    def test_of_a_percentile_that_the_sample_does_not_carry_is_undecided_and_says_what_to_do(
        self, student
    ) -> None:
        check = only(Evidence([student]), budget("latency_p99_ms", max=1e9))
        assert (check.verdict, check.value) == ("inconclusive", None)
        assert "p99 needs 662 queries, but 200 were timed" in check.reason
        assert "--percentile 99" in check.reason

    def test_of_a_percentile_that_nobody_asked_for_is_broken(self, measured) -> None:
        check = only(Evidence([measured(n=9000)]), budget("latency_p99_9_ms", max=1e9))
        assert check.verdict == "fail"
        assert "--percentile 99.9" in check.reason

    def test_may_be_of_any_percentile(self, measured) -> None:
        one = measured(percentiles={"p99.9": (7.0, 6.0, 8.0)})
        for name in ("latency_p99.9_ms", "latency_p99_9_ms"):
            assert only(Evidence([one]), budget(name, max=8.0)).verdict == "pass"

    def test_with_both_ends_is_two_checks(self, student) -> None:
        verdict = judge(Evidence([student]), budget("latency_p50_ms", max=2.1, min=1.95))
        assert [c.kind for c in verdict.checks] == ["max", "min"]
        assert [c.verdict for c in verdict.checks] == ["pass", "inconclusive"]


@pytest.mark.parametrize(
    ("metric", "low", "high"),
    [
        ("throughput_ips", 780.0, 820.0),
        ("peak_memory_mb", 80.0 / 1.02, 80.0 * 1.02),
        ("steady_memory_mb", 60.0 / 1.02, 60.0 * 1.02),
        ("energy_j_per_image", 0.5 / 1.1, 0.5 * 1.1),
        ("startup_ms", 33.0 / 1.3, 33.0 * 1.3),
        ("size_mb", 1.5, 1.5),
        ("drop_vs_teacher_points", 1.1, 9.0),
        ("speedup_vs_teacher", 2.18, 2.87),
    ],
)
def test_every_metric_is_judged_by_its_interval(measured, teacher, metric, low, high) -> None:
    both = Evidence([measured(energy=0.5), teacher])

    def answer(**limit: float) -> str:
        return only(both, budget(metric, **limit)).verdict

    slack = 1e-9
    assert answer(max=high + slack) == "pass"
    assert answer(max=low * 0.9) == "fail"
    assert answer(min=low - slack) == "pass"
    assert answer(min=high * 1.1) == "fail"


@pytest.mark.parametrize(
    ("metric", "changes"),
    [
        ("top1_percent", {"top1": None}),
        ("peak_memory_mb", {"peak": None}),
        ("energy_j_per_image", {}),
        ("drop_vs_teacher_points", {}),
        ("speedup_vs_teacher", {}),
    ],
)
def test_a_figure_that_was_not_measured_keeps_no_limit(measured, metric, changes) -> None:
    for limit in ({"max": 99.9}, {"min": 0.001}):
        check = only(Evidence([measured(**changes)]), budget(metric, **limit))
        assert (check.verdict, check.value, check.basis) == ("fail", None, "none")
        assert check.reason.startswith("not measured: ")


def test_accuracy_is_judged_by_wilsons_interval_and_does_not_care_who_else_was_at_work(
    measured,
) -> None:
    # 324 of 360: 86.47 to 92.70 %, from the published formula.
    one = measured(suspect=["busy"])
    check = only(Evidence([one]), budget("top1_percent", min=86.4))
    assert check.verdict == "pass"
    assert (check.low, check.high) == pytest.approx((86.47, 92.69), abs=0.02)
    undecided = only(Evidence([one]), budget("top1_percent", min=87.0))
    assert undecided.verdict == "inconclusive"
    # The same images again would say the same.
    assert not undecided.repeatable
    assert only(Evidence([one]), budget("top1_percent", min=93.0)).verdict == "fail"


@pytest.mark.parametrize(
    ("peaks", "low", "high"),
    [
        ([80.0], 80 / 1.02, 80 * 1.02),
        ([80.0, 70.0, 90.0], 70 / 1.02, 90 * 1.02),
        ([80.0, 81.0, 79.0, 82.0, 78.0, 83.0, 77.0], 77.0, 83.0),
        # Of a median of twelve the bounds are the second of either end.
        ([float(mb) for mb in range(70, 82)], 71.0, 80.0),
    ],
)
def test_memory_of_several_processes_lies_between_their_bounds(measured, peaks, low, high) -> None:
    starts = [Started(Startup(1.0, 2.0, 3.0), Memory(1.0, 2.0, mb)) for mb in peaks]
    one = replace(measured(), starts=[*starts, Started(Startup(1.0, 2.0, 3.0), None)])
    check = only(Evidence([one]), budget("peak_memory_mb", max=1000))
    assert (check.low, check.high) == pytest.approx((low, high))
    assert check.verdict == "pass"


def test_memory_is_judged_though_others_were_at_work_and_held_against_the_same_circumstances(
    measured,
) -> None:
    one = measured(suspect=["busy"])
    assert only(Evidence([one]), budget("peak_memory_mb", max=82)).verdict == "pass"
    assert only(Evidence([one]), budget("peak_memory_mb", max=78)).verdict == "fail"
    # One process tells it within 2 %.
    near = only(Evidence([one]), budget("peak_memory_mb", max=81))
    assert (near.verdict, near.repeatable) == ("inconclusive", True)
    rules = budget("peak_memory_mb", max_regression=5)
    close = only(Evidence([one]), rules, Baseline([measured(peak=79.0)]))
    assert (close.verdict, close.repeatable) == ("inconclusive", True)
    assert close.reason.endswith("; more processes (measure longer), or a looser limit would tell")
    other = only(Evidence([one]), rules, Baseline([measured(peak=79.0, threads=4)]))
    assert "another number of threads" in other.reason


def test_newcombes_interval_of_a_drop_matches_the_published_example() -> None:
    # Newcombe (1998), table II, method 10: 56/70 - 48/80 = 0.2000, 95 %: 0.0524 to 0.3339.
    from foundation.statistics import wilson_interval  # noqa: PLC0415

    theirs, ours = (Figure(k / n, *wilson_interval(k, n)) for k, n in ((56, 70), (48, 80)))
    found = drop(ours, theirs)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


class TestARegression:
    def test_of_stored_figures_allows_for_both_intervals_and_for_two_processes(
        self, measured
    ) -> None:
        old = measured(percentiles={"p50": (2.0, 1.9, 2.1)})
        new = measured(percentiles={"p50": (3.0, 2.9, 3.1)})
        rules = budget("latency_p50_ms", max_regression=5)
        check = only(Evidence([new]), rules, Baseline([old]))
        low, high = 2.9 / 2.1 / PROCESSES_DIFFER, 3.1 / 1.9 * PROCESSES_DIFFER
        assert check.value == pytest.approx(50)
        assert (check.low, check.high) == pytest.approx((100 * (low - 1), 100 * (high - 1)))
        assert (check.verdict, check.basis, check.against) == (
            "fail",
            "not interleaved",
            "baseline",
        )

    @pytest.mark.parametrize(
        ("factor", "answer"), [(1.0, "pass"), (1.05, "inconclusive"), (1.1, "fail")]
    )
    def test_is_decided_by_turns_where_exactly_these_bundles_took_them(
        self, measured, compared, factor, answer
    ) -> None:
        old, new = measured(sha="c"), measured(sha="d")
        noise = [0.99, 1.01, 1.0, 0.995, 1.005, 0.985, 1.015, 1.0]
        turns = compared(old, new, [factor * n for n in noise])
        rules = budget("latency_p50_ms", max_regression=5)
        check = only(Evidence([new], [turns]), rules, Baseline([old]))
        assert (check.verdict, check.basis) == (answer, "interleaved")
        assert check.value == pytest.approx(100 * (factor - 1), abs=0.5)

    @pytest.mark.parametrize(
        "changes",
        [{"host": "ssh://pi"}, {"threads": 4}, {"fresh": False}],
    )
    def test_is_not_decided_by_turns_of_another_kind(self, measured, compared, changes) -> None:
        old, new = measured(sha="c"), measured(sha="d")
        turns = compared(old, new, [1.0] * 8, **changes)
        rules = budget("latency_p50_ms", max_regression=5)
        check = only(Evidence([new], [turns]), rules, Baseline([old]))
        assert check.basis == "not interleaved"

    def test_is_undecided_where_a_bundle_ran_as_something_else_in_its_turns(
        self, measured, compared
    ) -> None:
        # Every candidate of these turns ran in INT8.
        old, new = measured("older", sha="c", precision="fp32"), measured(sha="d")
        rules = budget("latency_p50_ms", max_regression=5)
        check = only(Evidence([new], [compared(old, new, [1.0] * 8)]), rules, Baseline([old]))
        assert (check.verdict, check.basis) == ("inconclusive", "interleaved")
        assert "older is suspect: it ran in int8, though the bundle is fp32" in check.reason

    def test_is_not_decided_by_turns_of_other_bundles_of_the_same_name(
        self, measured, compared
    ) -> None:
        old, new = measured(sha="c"), measured(sha="d")
        stale = compared(old, measured(sha="e"), [1.0] * 8)
        check = only(
            Evidence([new], [stale]),
            budget("latency_p50_ms", max_regression=5),
            Baseline([old]),
        )
        assert check.basis == "not interleaved"

    def test_is_not_decided_by_too_few_rounds(self, measured, compared) -> None:
        old, new = measured(sha="c"), measured(sha="d")
        rules = budget("latency_p50_ms", max_regression=5)
        for rounds, basis in ((6, "not interleaved"), (7, "interleaved")):
            turns = compared(old, new, [1.0] * rounds)
            assert only(Evidence([new], [turns]), rules, Baseline([old])).basis == basis

    def test_takes_the_last_of_several_comparisons(self, measured, compared) -> None:
        old, new = measured(sha="c"), measured(sha="d")
        turns = [
            compared(old, new, [factor] * 8, started_at=f"2026-01-0{day}T00:00:00+00:00")
            for day, factor in ((1, 1.5), (3, 1.01), (2, 1.5))
        ]
        rules = budget("latency_p50_ms", max_regression=5)
        check = only(Evidence([new], turns), rules, Baseline([old]))
        assert check.value == pytest.approx(1)

    def test_of_a_bundle_against_itself_is_decided_by_its_own_turns(
        self, measured, compared
    ) -> None:
        one = measured()
        rules = budget("latency_p50_ms", max_regression=5)
        check = only(Evidence([one], [compared(one, one, [1.2] * 8)]), rules, Baseline([one]))
        assert (check.value, check.verdict) == (pytest.approx(20), "fail")

    def test_of_a_tail_is_decided_by_turns_whose_rounds_carry_it(self, measured, compared) -> None:
        old, new = measured(sha="c"), measured(sha="d")
        turns = compared(old, new, [1.0] * 8, percentiles={"p90": [1.3] * 8})
        rules = budget("latency_p90_ms", max_regression=5)
        check = only(Evidence([new], [turns]), rules, Baseline([old]))
        assert (check.value, check.basis) == (pytest.approx(30), "interleaved")

    def test_needs_no_measurement_of_a_bundle_that_took_turns(self, measured, compared) -> None:
        old, new = measured("older", sha="c", model_bytes=1_000_000), measured(sha="d")
        evidence = Evidence([new], [compared(old, new, [1.1] * 8)])
        rules = GateRecipe(
            limits={
                "latency_p50_ms": Limit(max_regression=5),
                "size_mb": Limit(max_regression=5),
                "peak_memory_mb": Limit(max_regression=5),
            }
        )
        checks = judge(evidence, rules, Baseline(bundle=old.bundle)).checks
        assert [c.verdict for c in checks] == ["fail"] * 3
        assert [c.value for c in checks] == [pytest.approx(10), pytest.approx(50), None]
        assert "give its measurement" in checks[2].reason

    def test_of_a_throughput_is_what_it_fell_by(self, measured) -> None:
        old = measured(throughput=(1000.0, 1000.0, 1000.0))
        new = measured(throughput=(800.0, 800.0, 800.0))
        rules = budget("throughput_ips", max_regression=5)
        check = only(Evidence([new]), rules, Baseline([old]))
        assert check.value == pytest.approx(20)
        assert (check.low, check.high) == pytest.approx(
            (100 * (1 - 0.8 * PROCESSES_DIFFER), 100 * (1 - 0.8 / PROCESSES_DIFFER))
        )
        assert check.verdict == "fail"

    def test_of_an_accuracy_is_in_points(self, measured) -> None:
        old, new = measured(top1=0.95), measured(top1=0.80)
        rules = budget("top1_percent", max_regression=2)
        check = only(Evidence([new]), rules, Baseline([old]))
        assert check.value == pytest.approx(15)
        assert check.verdict == "fail"
        assert "15 points" in check.reason

    def test_below_zero_asks_for_an_improvement(self, measured, compared) -> None:
        old, new = measured(sha="c"), measured(sha="d")
        rules = budget("latency_p50_ms", max_regression=-10)
        for factor, answer in ((0.8, "pass"), (0.95, "fail")):
            turns = compared(old, new, [factor] * 8)
            assert only(Evidence([new], [turns]), rules, Baseline([old])).verdict == answer

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"cpu": "another"}, "another CPU"),
            ({"threads": 2}, "another number of threads"),
            ({"scenario": "offline"}, "another scenario"),
            ({"suspect": ["it drifted"]}, "it drifted"),
        ],
    )
    def test_against_a_figure_of_other_circumstances_is_undecided(
        self, measured, changes, words
    ) -> None:
        rules = budget("latency_p50_ms", max_regression=5)
        old = measured(percentiles={"p50": (9.0, 9.0, 9.0)}, **changes)
        check = only(Evidence([measured()]), rules, Baseline([old]))
        assert check.verdict == "inconclusive"
        assert words in check.reason
        size = only(Evidence([measured()]), budget("size_mb", max_regression=5), Baseline([old]))
        assert size.verdict == "pass"

    def test_without_a_baseline_is_a_mistake_and_with_one_of_other_bundles_not_measured(
        self, measured
    ) -> None:
        rules = budget("latency_p50_ms", max_regression=5)
        with pytest.raises(UsageError, match="--baseline"):
            judge(Evidence([measured()]), rules)
        others = Baseline([measured("x"), measured("y")])
        check = only(Evidence([measured()]), rules, others)
        assert check.verdict == "fail"
        assert "the baseline has no local-onnx-int8 on host local" in check.reason

    def test_holds_the_only_bundle_against_the_only_baseline_whatever_its_name(
        self, measured
    ) -> None:
        rules = budget("size_mb", max_regression=5)
        old = measured("older-name", model_bytes=1_000_000)
        assert only(Evidence([measured()]), rules, Baseline([old])).verdict == "fail"

    def test_may_be_against_teacher_or_student(self, measured, teacher) -> None:
        full = measured("local-onnx-fp32", sha="f", precision="fp32", model_bytes=6_000_000)
        evidence = Evidence([measured(), full, teacher])
        limits = {
            "size_mb": Limit(max_regression=0, against="student"),
            "latency_p50_ms": Limit(max_regression=0, against="teacher"),
        }
        checks = judge(evidence, GateRecipe(limits=limits)).checks
        found = {(c.bundle, c.metric): c for c in checks}
        size = found["local-onnx-int8", "size_mb"]
        assert (size.value, size.reference, size.against) == (-75, "local-onnx-fp32", "student")
        latency = found["local-onnx-int8", "latency_p50_ms"]
        assert (latency.value, latency.reference) == (-60, "local-teacher-onnx-fp32")
        # FP32 is what it would be held against.
        assert found["local-onnx-fp32", "size_mb"].value == 0
        assert all(c.verdict == "pass" for c in checks)

    def test_against_a_student_that_was_not_measured_says_how(self, measured) -> None:
        rules = budget("size_mb", max_regression=0, against="student")
        check = only(Evidence([measured()]), rules)
        assert (check.verdict, "--precision fp32" in check.reason) == ("fail", True)

    def test_of_what_is_itself_a_comparison_is_refused(self, measured) -> None:
        with pytest.raises(UsageError, match="already compares with the teacher"):
            judge(
                Evidence([measured()]),
                budget("speedup_vs_teacher", max_regression=5, against="student"),
            )


class TestAProperty:
    """Figures drawn at random, seeded; each property held for all of them."""

    @pytest.fixture(scope="class")
    def drawn(self) -> list[tuple[float, float, float]]:
        draw = random.Random(1)
        return [tuple(sorted(math.exp(draw.gauss(0, 1)) for _ in range(3))) for _ in range(300)]

    def test_passes_and_fails_only_with_the_whole_interval(self, measured, drawn) -> None:
        for (low, value, high), (bound, *_) in zip(drawn, reversed(drawn), strict=True):
            one = measured(percentiles={"p50": (value, low, high)})
            check = only(Evidence([one]), budget("latency_p50_ms", max=bound))
            expected = "pass" if high <= bound else "fail" if low > bound else "inconclusive"
            assert check.verdict == expected

    def test_a_looser_limit_is_never_worse(self, measured, drawn) -> None:
        order = ["fail", "inconclusive", "pass"]
        for low, value, high in drawn[:100]:
            one = Evidence([measured(percentiles={"p50": (value, low, high)})])
            answers = [
                order.index(only(one, budget("latency_p50_ms", max=bound)).verdict)
                for bound in sorted((low / 2, low, value, high, high * 2))
            ]
            assert answers == sorted(answers)

    def test_a_quotient_and_its_inverse_are_inverse_and_hold_the_value(self, drawn) -> None:
        for a, b in zip(drawn, reversed(drawn), strict=True):
            one, other = (Figure(v, low, high) for low, v, high in (a, b))
            there, back = quotient(one, other), quotient(other, one)
            assert there.low <= there.value <= there.high
            assert (1 / back.high, 1 / back.low) == pytest.approx((there.low, there.high))


class TestTheWhole:
    def test_fails_with_one_broken_limit_and_is_inconclusive_only_without_one(
        self, student
    ) -> None:
        def answer(**limits: float) -> str:
            rules = GateRecipe(limits={name: Limit(max=bound) for name, bound in limits.items()})
            return judge(Evidence([student]), rules).verdict

        assert answer(size_mb=2.0, latency_p50_ms=2.2) == "pass"
        assert answer(size_mb=2.0, latency_p50_ms=2.0) == "inconclusive"
        assert answer(size_mb=1.0, latency_p50_ms=2.0) == "fail"

    @pytest.mark.parametrize(
        ("asked", "answer", "code"),
        [("report", "inconclusive", 3), ("pass", "pass", 0), ("fail", "fail", 1)],
    )
    def test_counts_inconclusive_as_it_was_asked_and_says_so_of_the_check(
        self, student, asked, answer, code
    ) -> None:
        rules = GateRecipe(limits={"latency_p50_ms": Limit(max=2.0)}, on_inconclusive=asked)
        verdict = judge(Evidence([student]), rules)
        assert (verdict.verdict, verdict.exit_code) == (answer, code)
        assert [c.verdict for c in verdict.checks] == ["inconclusive"]

    def test_judges_every_student_bundle_and_no_teacher(self, measured, teacher) -> None:
        other = measured("local-openvino-int8", format="openvino")
        verdict = judge(Evidence([measured(), other, teacher]), budget("size_mb", max=9.0))
        names = [check.bundle for check in verdict.checks]
        assert names == ["local-onnx-int8", "local-openvino-int8"]

    def test_holds_for_the_bundles_that_the_budget_names_the_teacher_too(
        self, student, teacher
    ) -> None:
        rules = GateRecipe(bundles=[teacher.bundle.name], limits={"size_mb": Limit(max=9.0)})
        verdict = judge(Evidence([student, teacher]), rules)
        assert [check.bundle for check in verdict.checks] == ["local-teacher-onnx-fp32"]

    def test_tells_an_unknown_metric_with_the_nearest(self, student) -> None:
        with pytest.raises(UnknownNameError, match=r"limits\.latency_p95.*'latency_p95_ms'"):
            judge(Evidence([student]), budget("latency_p95", max=1.0))
        with pytest.raises(UnknownNameError, match="latency_p100_ms"):
            metric_named("latency_p100_ms")
        for far in ("latency_p0.0000001_ms", "latency_p99_99999999_ms", "latency_p0_ms"):
            with pytest.raises(UnknownNameError, match=r"from 0\.0001 to 99\.9999"):
                metric_named(far)

    def test_tells_an_unknown_bundle_with_the_nearest(self, student) -> None:
        rules = GateRecipe(bundles=["local-onnx-int9"], limits={"size_mb": Limit(max=9.0)})
        with pytest.raises(UnknownNameError, match="did you mean 'local-onnx-int8'"):
            judge(Evidence([student]), rules)

    def test_is_refused_without_limits_or_without_a_student(self, student, teacher) -> None:
        with pytest.raises(UsageError, match="no limits"):
            judge(Evidence([student]), GateRecipe())
        with pytest.raises(MissingFileError, match="compress bench"):
            judge(Evidence([teacher]), budget("size_mb", max=9.0))

    def test_every_metric_is_told_of_in_words(self) -> None:
        assert all(metric.words for metric in METRICS.values())


def test_an_estimate_has_a_median_and_a_size_and_is_labelled(student) -> None:
    estimate = Estimate(
        bundle=student.bundle, target="rpi4", runtime="onnxruntime", threads=4,
        latency_ms=Range(5.0, 2.0, 9.0),
        basis=Basis(1.0, 1, 1, 1, 1.0, 0.5, 0.0, [], None), made_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    limits = {name: Limit(max=9.0) for name in ("latency_p50_ms", "latency_p90_ms", "size_mb")}
    checks = judge(Evidence(estimates=[estimate]), GateRecipe(limits=limits)).checks
    assert [c.verdict for c in checks] == ["pass", "fail", "pass"]
    assert {c.basis for c in checks} == {"estimate", "none"}
    assert all(c.reason.startswith("an estimate, not a measurement: ") for c in checks)
    assert not any(c.repeatable for c in checks)
