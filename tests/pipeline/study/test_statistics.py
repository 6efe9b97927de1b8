from __future__ import annotations

import math

import pytest

from pipeline.study.statistics import (
    Spread,
    compare_seed_by_seed,
    effect_of,
    holm,
    loss_ratios,
    mean_retention,
    spread_of,
)


def test_spread_is_the_mean_and_the_sample_deviation() -> None:
    # deviations −2, 0, 2 from the mean 4: (4 + 0 + 4) / (3 − 1) = 4, root 2
    assert spread_of([2.0, 4.0, 6.0]) == Spread(4.0, 2.0)


def test_one_value_has_no_deviation() -> None:
    assert spread_of([0.5]) == Spread(0.5, None)


def test_a_paired_test_of_three_seeds_by_hand() -> None:
    # differences 1, 2, 3: mean 2, sd 1, t = 2 / (1 / √3) = 3.4641 with 2 degrees of freedom,
    # for which p has the closed form 1 − t / √(t² + 2).
    found = compare_seed_by_seed({0: 11.0, 1: 22.0, 2: 33.0}, {0: 10.0, 1: 20.0, 2: 30.0})
    assert found is not None
    t = 2 * math.sqrt(3)
    assert found.difference == pytest.approx(2.0)
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2), rel=1e-9)
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    assert found.n == 3


def test_a_paired_test_of_two_seeds_by_hand() -> None:
    # differences 1, 3: mean 2, sd √2, t = 2; with 1 degree of freedom p = 1 − (2/π)·atan t.
    found = compare_seed_by_seed({5: 1.0, 6: 3.0}, {5: 0.0, 6: 0.0})
    assert found is not None
    assert found.p == pytest.approx(1 - 2 / math.pi * math.atan(2.0), rel=1e-9)


def test_the_test_is_two_sided() -> None:
    worse = compare_seed_by_seed({0: 10.0, 1: 20.0, 2: 30.0}, {0: 11.0, 1: 22.0, 2: 33.0})
    assert worse is not None
    assert worse.difference == pytest.approx(-2.0)
    assert worse.p == pytest.approx(0.0742, abs=1e-4)


def test_only_seeds_that_both_have_are_compared() -> None:
    found = compare_seed_by_seed({0: 1.0, 1: 3.0, 7: 99.0}, {0: 0.0, 1: 0.0, 8: 99.0})
    assert found is not None
    assert (found.difference, found.n) == (2.0, 2)
    assert compare_seed_by_seed({0: 1.0}, {1: 1.0}) is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [({0: 0.9}, {0: 0.8}), ({0: 0.3, 1: 0.7}, {0: 0.2, 1: 0.6}), ({0: 0.5, 1: 0.6},) * 2],
    ids=["one seed", "equal differences, rounding aside", "no difference"],
)
def test_p_is_not_defined_where_there_is_no_spread(
    ours: dict[int, float], theirs: dict[int, float]
) -> None:
    found = compare_seed_by_seed(ours, theirs)
    assert found is not None
    assert found.p is None


def test_retention_matrices_are_averaged_cell_by_cell() -> None:
    one = {"stages": ["1-a", "2-b"], "loss": [[1.0, 3.0], [None, 2.0]], "top1": [0.5, 0.6]}
    other = {"stages": ["1-a", "2-b"], "loss": [[3.0, 5.0], [None, 4.0]], "top1": [0.7, 0.8]}
    mean = mean_retention([one, other])
    assert mean["loss"] == [[2.0, 4.0], [None, 3.0]]
    assert mean["top1"] == pytest.approx([0.6, 0.7])


def test_what_is_left_is_told_in_terms_of_the_loss_after_the_stage_itself() -> None:
    shares = loss_ratios([[2.0, 4.0, 1.0], [None, 5.0, 5.0], [None, None, 0.0]])
    assert shares == [[1.0, 2.0, 0.5], [None, 1.0, 1.0], [None, None, None]]


def test_a_stage_that_cannot_be_measured_has_no_shares() -> None:
    assert loss_ratios([[None, None], [None, 2.0]]) == [[None, None], [None, 1.0]]


def test_holms_procedure_is_what_is_worked_out_by_hand() -> None:
    # In order 0.01, 0.02, 0.03, 0.04: times 4, 3, 2 and 1 are 0.04, 0.06, 0.06 and 0.04, and the
    # last is not less than those before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.7, 0.6]) == [1.0, 1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_a_p_that_is_not_defined_stays_so_and_is_counted() -> None:
    assert holm([None, 0.02, 0.01]) == [None, pytest.approx(0.04), pytest.approx(0.03)]


def test_interval_and_size_of_an_effect_by_hand() -> None:
    # mean 2, sd 1: with 2 degrees of freedom t of 97.5 % is 4.3027, over √3.
    found = effect_of([1.0, 2.0, 3.0])
    assert found.effect == pytest.approx(2.0)
    assert found.low == pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4)
    assert found.high == pytest.approx(2 + 4.3027 / math.sqrt(3), abs=1e-4)


def test_one_difference_has_no_interval_and_equal_ones_no_size() -> None:
    assert effect_of([0.1]).low is None
    same = effect_of([0.1, 0.1, 0.1])
    assert same.effect is None
    assert (same.low, same.high) == (pytest.approx(0.1), pytest.approx(0.1))
