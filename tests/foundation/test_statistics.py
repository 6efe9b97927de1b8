from __future__ import annotations

import math
import random

import pytest
from scipy.stats import binomtest

from foundation.statistics import paired_difference, wilson_interval


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 10), (9312, 10000)])
def test_the_interval_is_the_one_of_the_books(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_holds_the_share_and_narrows_with_the_count() -> None:
    few, many = wilson_interval(9, 10), wilson_interval(900, 1000)
    assert few[0] < many[0] < 0.9 < many[1] < few[1] < 1.0
    assert many[1] - many[0] == pytest.approx(2 * 1.96 * math.sqrt(0.9 * 0.1 / 1000), rel=0.02)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_share_is_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"no {k} of {n}"):
        wilson_interval(k, n)


def test_a_paired_difference_is_the_one_worked_out_by_hand() -> None:
    # Bonett and Price: (7 - 3) / 102, give or take 1.96 sqrt((10/102 - (4/102)^2) / 102)
    found = paired_difference(lost=6, won=2, n=100)
    assert found == pytest.approx((0.04, -0.02109, 0.09952), abs=2e-5)


def test_the_paired_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng, n, p_lost, p_won = random.Random(0), 360, 0.02, 0.005
    held = 0
    for _ in range(1000):
        draws = [rng.random() for _ in range(n)]
        lost = sum(draw < p_lost for draw in draws)
        won = sum(p_lost <= draw < p_lost + p_won for draw in draws)
        _, low, high = paired_difference(lost, won, n)
        held += low <= p_lost - p_won <= high
    assert held >= 940


@pytest.mark.parametrize(("lost", "won", "n"), [(0, 0, 0), (-1, 0, 3), (2, 2, 3)])
def test_what_is_no_paired_share_is_refused(lost: int, won: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"no {lost} and {won} of {n}"):
        paired_difference(lost, won, n)
