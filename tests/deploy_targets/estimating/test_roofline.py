"""The least time of a model, and what is learnt from measurements: figures worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from deploy_targets.estimating.calibration import Observation, calibrate, unmeasured
from deploy_targets.estimating.roofline import Work, roofline
from deploy_targets.targets import load_target
from foundation.errors import UsageError

BOARD = replace(load_target("rpi4"), clock_mhz=1000.0, memory_gb_s=1.0)  # 8 and 16 a cycle
ARITHMETIC = Work("Convolution", macs=8_000_000, bytes=1, precision="fp32")
MOVING = Work("Add", macs=0, bytes=3_000_000, precision="fp32")


def test_an_operator_takes_the_longer_of_its_arithmetic_and_its_bytes() -> None:
    assert roofline([ARITHMETIC], BOARD, 1).ms == pytest.approx(2.0)
    assert roofline([MOVING], BOARD, 1).ms == pytest.approx(3.0)
    assert roofline([replace(ARITHMETIC, bytes=5_000_000)], BOARD, 1).ms == pytest.approx(5.0)
    both = roofline([ARITHMETIC, MOVING], BOARD, 1)
    assert (both.ms, both.operators) == (pytest.approx(5.0), 2)
    assert both.compute_share == pytest.approx(0.4)


def test_threads_share_arithmetic_but_not_memory() -> None:
    assert roofline([ARITHMETIC], BOARD, 4).ms == pytest.approx(0.5)
    assert roofline([MOVING], BOARD, 4).ms == pytest.approx(3.0)


def test_int8_goes_at_its_own_rate() -> None:
    assert roofline([replace(ARITHMETIC, precision="int8")], BOARD, 1).ms == pytest.approx(1.0)


def test_unknown_memory_counts_for_nothing_and_an_unknown_clock_as_one_gigahertz() -> None:
    assert roofline([ARITHMETIC, MOVING], replace(BOARD, memory_gb_s=None), 1).ms == 2.0
    nominal = roofline([ARITHMETIC], replace(BOARD, clock_mhz=None), 1)
    assert nominal.ms == roofline([ARITHMETIC], BOARD, 1).ms


def test_a_core_of_which_nothing_is_known_is_refused_with_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"arm64-generic: nothing .* fp32_per_cycle"):
        roofline([ARITHMETIC], load_target("arm64-generic"), 1)
    assert roofline([MOVING], load_target("arm64-generic"), 1).ms == 0


def observed(efficiency: float, overhead_ms: float, noise: float = 0.0) -> list[Observation]:
    sizes = [(0.5, 10), (2.0, 60), (8.0, 20), (30.0, 90), (0.1, 40)]
    return [
        Observation(ms, count, (ms / efficiency + count * overhead_ms) * (1 + sign * noise))
        for (ms, count), sign in zip(sizes, (1, -1, 1, -1, 1), strict=True)
    ]


def test_efficiency_and_overhead_are_found_where_models_follow_them() -> None:
    found = calibrate(observed(0.4, 0.01))
    assert found.efficiency == pytest.approx(0.4)
    assert found.overhead_ms == pytest.approx(0.01)
    told = found.predict(4.0, 50)
    assert told.value == pytest.approx(10.5)
    assert told.low < 10.5 < told.high < 3 * 10.5


def test_an_overhead_below_zero_is_none() -> None:
    strange = [Observation(1, 10, 2.0), Observation(1, 100, 1.0), Observation(2, 50, 3.0)]
    found = calibrate(strange)
    assert found.overhead_ms == 0
    assert found.efficiency == pytest.approx(math.prod([1 / 2, 1 / 1, 2 / 3]) ** (1 / 3))


def test_the_interval_widens_with_scatter_and_doubt_and_narrows_with_measurements() -> None:
    def width(of: list[Observation], doubt: float = 1.0) -> float:
        factor = calibrate(of, doubt).factor
        return factor.high / factor.low

    tidy, scattered = observed(0.4, 0.01, 0.05), observed(0.4, 0.01, 0.6)
    assert width(tidy) < width(scattered)
    assert width(tidy) < width(tidy, doubt=2.5)
    assert width(tidy * 4) < width(tidy) < width(tidy[:2]) < width(tidy[:1])


def test_one_measurement_gives_its_own_efficiency_and_says_how_little_that_is() -> None:
    found = calibrate([Observation(2.0, 10, 8.0)])
    assert found.predict(2.0, 10).value == pytest.approx(8.0)
    assert found.factor.high > 2.5


def test_without_a_measurement_the_roofline_itself_is_the_lower_end() -> None:
    told = unmeasured(3.0)
    assert told.low == 3.0
    assert told.value == 15.0
    assert told.high == pytest.approx(60.0)
