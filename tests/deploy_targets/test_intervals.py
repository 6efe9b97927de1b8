"""The interval: its coverage counted out, and what a spoilt round does to it."""

import itertools

import pytest

from deploy_targets.intervals import fewest_differences, signed_rank_interval

SIZES = [0.3, 0.7, 1.1, 1.9, 2.3, 3.1, 4.3, 5.9, 7.7, 9.1]


def test_six_differences_are_the_fewest_for_95_percent_and_span_the_interval():
    assert fewest_differences(0.95) == 6
    found = signed_rank_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0], 0.95)
    assert (found.low, found.high) == (1.0, 6.0)
    assert found.estimate == 3.5


def test_five_are_refused():
    with pytest.raises(ValueError, match="needs 6 differences, but got 5"):
        signed_rank_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.95)


@pytest.mark.parametrize(("n", "outside"), [(6, 1), (7, 3), (8, 4), (10, 9)])
def test_the_interval_misses_zero_as_seldom_as_the_published_critical_values_say(n, outside):
    # Of all signs that fair differences of those sizes can have: `outside` is the number of rank
    # sums up to Wilcoxon's critical value (0, 2, 3, 8), which the same number mirrors.
    sums = [sum(c) for r in range(n + 1) for c in itertools.combinations(range(1, n + 1), r)]
    critical = outside - 1
    missed = 0
    for signs in itertools.product((-1, 1), repeat=n):
        found = signed_rank_interval([s * v for s, v in zip(signs, SIZES, strict=False)], 0.95)
        missed += not found.low < 0 < found.high
    assert missed == 2 * sum(total <= critical for total in sums)
    assert missed / 2**n <= 0.05


def test_the_interval_lies_as_the_differences_do():
    up = signed_rank_interval([0.1 * i for i in range(10)], 0.95)
    down = signed_rank_interval([-0.1 * i for i in range(10)], 0.95)
    assert (down.low, down.estimate, down.high) == (-up.high, -up.estimate, -up.low)


def test_one_spoilt_round_of_ten_moves_little():
    steady = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98, 1.07, 0.93]
    found = signed_rank_interval([*steady, 50.0], 0.95)
    assert 0.9 < found.low < found.estimate < 1.1
    assert found.high < 1.2 + 50 / 2
    assert found.estimate == pytest.approx(1.0, abs=0.05)


def test_more_confidence_is_a_wider_interval():
    values = [0.1 * i * (-1) ** i for i in range(12)]
    narrow, wide = (signed_rank_interval(values, level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
