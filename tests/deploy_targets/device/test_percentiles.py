"""Percentiles and their bounds, worked out by hand and counted out over drawn samples."""

import math
import random

import pytest

from deploy_targets.device.percentiles import (
    LARGEST,
    SMALLEST,
    fewest_queries,
    nearest_rank,
    percentile_of,
)


@pytest.mark.parametrize("percent", [50, 90, 95, 99])
def test_nearest_rank_of_one_to_a_hundred_is_the_percentage_itself(percent):
    assert nearest_rank(range(1, 101), percent) == percent


def test_nearest_rank_takes_a_sample_and_never_goes_between_two():
    assert nearest_rank([10.0, 20.0, 30.0, 40.0, 1000.0], 50) == 30.0
    assert nearest_rank([10.0, 20.0, 30.0, 1000.0], 50) == 20.0
    assert nearest_rank([float(i) for i in range(1, 12)], 90) == 10.0  # rank ceil(9.9)
    assert nearest_rank(range(1, 1001), 99.9) == 999


@pytest.mark.parametrize(("percent", "needed"), [(90, 64), (95, 130), (99, 662), (99.9, 6636)])
def test_the_queries_that_a_percentile_needs_are_those_of_early_stopping(percent, needed):
    assert fewest_queries(percent) == needed
    assert fewest_queries(100 - percent) == needed
    ordered = [float(i) for i in range(needed)]
    assert percentile_of(ordered[1:], percent) is None
    found = percentile_of(ordered, percent)
    assert found is not None
    # The second largest: no smaller sample has it above the percentile with 99 %.
    assert found.high == ordered[-2]


def test_the_farthest_percentiles_are_worked_out_at_once_and_have_bounds():
    # Two of n above it, with 99 %: of rare events that is a mean of 6.638.
    assert fewest_queries(LARGEST) == fewest_queries(SMALLEST) == 6_638_350
    ordered = range(7_000_000)
    for percent in (SMALLEST, 50, LARGEST):
        found = percentile_of(ordered, percent)
        assert found is not None
        assert found.low < found.value < found.high


@pytest.mark.parametrize("percent", [0.0, 1e-7, 99.99999999, 100.0, -1.0, math.nan, math.inf])
def test_a_percentile_beyond_them_is_refused_and_not_counted_out(percent):
    with pytest.raises(ValueError, match=r"from 0\.0001 to 99\.9999"):
        fewest_queries(percent)


def test_the_bounds_of_a_median_of_twelve_are_the_second_of_either_end():
    # Eleven or twelve fair coins of twelve fall alike 13 times in 4096, and ten or more 79 times:
    # 0.3 % and 1.9 %, so of each side one value may be left out, and not two.
    assert sum(math.comb(12, k) for k in (11, 12)) == 13
    assert sum(math.comb(12, k) for k in (10, 11, 12)) == 79
    found = percentile_of([float(i) for i in range(1, 13)], 50)
    assert found is not None
    assert (found.low, found.value, found.high) == (2.0, 6.0, 11.0)


@pytest.mark.parametrize(("percent", "n"), [(50, 41), (90, 200), (99, 1000)])
def test_each_bound_holds_at_99_percent_whatever_the_shape(percent, n):
    draw, trials = random.Random(0), 1500
    # Latencies with a long tail; its percentiles are known.
    true = math.exp(2 * _normal_quantile(percent / 100))
    below = above = 0
    for _ in range(trials):
        found = percentile_of(sorted(math.exp(2 * draw.gauss(0, 1)) for _ in range(n)), percent)
        assert found is not None
        below += found.high < true
        above += found.low > true
    # 1 % of 1500 is 15; 30 are four standard deviations off.
    assert below <= 30
    assert above <= 30
    assert below + above > 0


def _normal_quantile(share):
    low, high = -10.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        if (1 + math.erf(middle / math.sqrt(2))) / 2 < share:
            low = middle
        else:
            high = middle
    return low
