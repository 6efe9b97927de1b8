from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from foundation.statistics import wilson_interval


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
