"""What makes a measurement suspect, and what does not."""

import math
import random
import re
from dataclasses import replace

import pytest

from deploy_targets.device.messages import (
    Conditions,
    ExecutedPrecision,
    RuntimeUsed,
    Scenario,
    Timed,
    Warmed,
)
from deploy_targets.measuring.validity import change_point, judge

RAN = RuntimeUsed("onnxruntime", "1.0", 1, "f32", ExecutedPrecision("f32", {"f32": 2}))
QUIET = [
    Conditions("before", "performance", 1800, 50, False, 0.5, None, 0.0, 0),
    Conditions("during", "performance", 1800, 55, False, 0.5, 0.01, 0.0, 0),
    Conditions("after", "performance", 1790, 55, False, 0.5, None, 0.0, 0),
]


def latencies(n=1000, seed=0, factor=lambda i: 1.0):
    """Log-normal, with one in fifty that takes ten times as long."""
    draw = random.Random(seed)
    return [
        int(1e6 * factor(i) * math.exp(draw.gauss(0, 0.05)) * (10 if draw.random() < 0.02 else 1))
        for i in range(n)
    ]


def judged(ns=None, conditions=QUIET, runtime=RAN, precision="fp32", **more):
    ns = latencies() if ns is None else ns
    return judge(
        [Timed(ns, sum(ns))], warmed=more.pop("warmed", [Warmed(10, True)]),
        conditions=conditions, runtime=runtime, scenario=more.pop("scenario", Scenario()),
        precision=precision, **more,
    )  # fmt: skip


def reason(**how):
    found = judged(**how)
    assert found.verdict == "suspect"
    (only,) = found.reasons
    return only


def during(**worse):
    return [QUIET[0], replace(QUIET[1], **worse), QUIET[2]]


def test_a_quiet_machine_is_valid_and_tells_all():
    found = judged()
    assert (found.verdict, found.reasons, found.unavailable) == ("valid", [], [])


def test_chance_alone_makes_no_series_suspect():
    assert sum(judged(latencies(seed=seed)).verdict == "suspect" for seed in range(200)) <= 1


@pytest.mark.parametrize("n", [100, 250, 800])
def test_chance_alone_makes_no_wide_series_suspect(n):
    """As of a server at a low rate: what a query takes differs by half from the next."""
    draws = [random.Random(seed) for seed in range(200)]
    wide = [[int(1e6 * math.exp(one.gauss(0, 0.5))) for _ in range(n)] for one in draws]
    assert sum(judged(ns).verdict == "suspect" for ns in wide) <= 4


@pytest.mark.parametrize("n", [100, 1000, 20_000])
def test_a_slow_drift_is_seen(n):
    said = reason(ns=latencies(n, factor=lambda i: 1 + 0.3 * i / n))
    assert "changed by +1" in said


def test_a_step_is_seen_with_its_place_and_size():
    said = reason(ns=latencies(2000, factor=lambda i: 1.0 if i < 1200 else 1.2))
    assert "+20%" in said or "+19%" in said
    assert "after query 1,200 of 2,000" in said


def test_getting_faster_is_a_change_too():
    assert "-" in reason(ns=latencies(factor=lambda i: 1.0 if i > 400 else 1.3))


def test_a_change_that_does_not_matter_is_none():
    assert judged(latencies(20_000, factor=lambda i: 1 + 0.03 * (i > 10_000))).verdict == "valid"


def test_bursts_are_seen_though_both_ends_are_alike():
    assert "unsteady" in reason(ns=latencies(factor=lambda i: 1.5 if 350 <= i < 650 else 1.0))


def test_a_series_that_is_too_short_to_tell_says_so():
    found = judged(latencies(99))
    assert found.verdict == "valid"
    assert found.unavailable == ["stationarity (needs 100 queries, had 99)"]


def test_the_change_point_of_a_step_is_where_it_steps():
    assert change_point([1, 1, 1, 1, 5, 5, 5, 5])[0] == 4
    # Pettitt: K = 16, so p = 2 exp(-6 · 256 / (512 + 64)).
    assert change_point([1, 1, 1, 1, 5, 5, 5, 5])[1] == pytest.approx(2 * math.exp(-6 * 256 / 576))
    assert change_point([3.0] * 10)[1] == 1.0


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"other_cpu": 0.4}, "other processes took 40% of the CPU"),
        ({"throttled": True, "temperature_c": 84.0}, "slowed itself down, .*84 °C"),
        ({"frequency_mhz": 1200}, "clock was as low as 1200 MHz, and 1800 at best"),
    ],
)
def test_each_of_the_machines_moods_is_named(worse, words):
    assert re.search(words, reason(conditions=during(**worse)))


def test_a_clock_that_falls_when_the_work_is_done_is_no_matter():
    idle = [*QUIET[:2], replace(QUIET[2], frequency_mhz=600)]
    assert judged(conditions=idle).verdict == "valid"


def test_a_containers_quota_that_was_used_up_is_seen_while_queries_were_timed():
    assert "used up in 112 periods" in reason(conditions=during(held_back=112))
    assert "used up in 1 period," in reason(conditions=during(held_back=1))
    afterwards = [*QUIET[:2], replace(QUIET[2], held_back=5)]
    assert judged(conditions=afterwards).verdict == "valid"


def test_swapping_out_is_seen():
    after = [*QUIET[:2], replace(QUIET[2], swap_mb=40.0)]
    assert "40 MiB were swapped out" in reason(conditions=after)


def test_the_governor_is_held_against_the_profile_where_it_says_one():
    slow = [replace(one, governor="ondemand") for one in QUIET]
    assert judged(conditions=slow).verdict == "valid"
    said = reason(conditions=slow, power={"governor": "performance"})
    assert said == "the governor was ondemand; the target's profile has performance"
    assert judged(power={"governor": "performance"}).verdict == "valid"


@pytest.mark.parametrize(
    ("hint", "ran", "precision", "is_right"),
    [
        ("f32", {"f32": 3}, "fp32", True),
        ("f32", {"bf16": 3}, "fp32", False),
        ("auto", {"bf16": 3}, "fp32", True),
        ("f32", {"u8": 3}, "int8", True),
        ("f32", {"f32": 3, "u8": 1}, "int8", True),
        ("f32", {"f32": 3}, "int8", False),
        ("auto", {"f32": 3}, "int8", False),
        ("bf16", {"f32": 3}, "bf16", False),
        ("f32", {"f32": 3}, "fp16", True),
        ("f32", {"f16": 3}, "fp16", True),
    ],
)
def test_what_ran_is_held_against_the_bundle(hint, ran, precision, is_right):
    most = max(ran, key=ran.get)
    executed = ExecutedPrecision("int8" if most == "u8" else most, ran)
    runtime = replace(RAN, precision_hint=hint, executed_precision=executed)
    found = judged(runtime=runtime, precision=precision)
    assert (found.verdict == "valid") is is_right


def test_a_warm_up_without_end_is_told():
    assert "warming up" in reason(warmed=[Warmed(5, True), Warmed(9, False)])


def test_a_server_that_cannot_keep_up_is_told():
    ns = latencies(400)
    at_20 = judge(
        [Timed(ns, 20_000_000_000)], warmed=[], conditions=QUIET, runtime=RAN,
        scenario=Scenario("server", rate=40.0), precision="fp32",
    )  # fmt: skip
    assert at_20.reasons == ["queries came at 40 a second, but 20 were answered"]
    kept = judge(
        [Timed(ns, 20_000_000_000)], warmed=[], conditions=QUIET, runtime=RAN,
        scenario=Scenario("server", rate=20.5), precision="fp32",
    )  # fmt: skip
    assert kept.verdict == "valid"


def test_what_is_not_told_is_unavailable_and_no_reason():
    found = judged(conditions=[Conditions("before"), Conditions("after")])
    assert found.verdict == "valid"
    assert found.unavailable == [
        "governor", "frequency_mhz", "temperature_c", "throttled", "other_cpu", "swap_mb",
        "held_back",
    ]  # fmt: skip
