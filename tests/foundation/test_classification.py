"""Class by class: against figures worked out by hand, and against scikit-learn."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from foundation.classification import (
    Counts,
    class_scores,
    confusion,
    mean_drop,
    mean_score,
    mean_scores,
    worst_drop,
    worst_recall,
)
from foundation.ranking import among_best, auroc, few_best
from foundation.statistics import paired_difference, wilson_interval, z_for_all_of

# Class 0: 3 of 4 right; class 1: 1 of 2; class 2: none shown, named once; class 3: neither.
LABELS = np.array([0, 0, 0, 0, 1, 1])
ANSWERS = np.array([0, 0, 0, 1, 1, 2])


def drawn(classes: int, n: int, share_right: float, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    right = random.random(n) < share_right
    return labels, np.where(right, labels, random.integers(0, classes, n))


def test_each_class_by_hand() -> None:
    zero, one, two, three = class_scores(LABELS, ANSWERS, 4)
    assert (zero.n, zero.named, zero.right) == (4, 3, 3)
    assert (zero.recall.value, zero.precision.value) == (0.75, 1.0)
    assert zero.f1.value == pytest.approx(2 * 0.75 / 1.75)
    assert (one.recall.value, one.precision.value, one.f1.value) == (0.5, 0.5, 0.5)
    assert two.recall is None
    assert (two.precision.value, two.f1.value) == (0, 0)
    assert (three.recall, three.precision, three.f1) == (None, None, None)


def test_intervals_of_shares_are_wilsons_and_f1s_is_that_of_jaccard_carried_over() -> None:
    zero = class_scores(LABELS, ANSWERS, 4)[0]
    assert (zero.recall.low, zero.recall.high) == wilson_interval(3, 4)
    low, high = wilson_interval(3, 4)  # 3 hits, 1 miss, no false alarm
    assert zero.f1.low == pytest.approx(2 * low / (1 + low))
    assert zero.f1.high == pytest.approx(2 * high / (1 + high))


def test_means_over_classes_by_hand() -> None:
    counts = Counts.of(LABELS, ANSWERS, 4)
    assert counts.mean("macro_recall") == pytest.approx((0.75 + 0.5) / 2)
    assert counts.mean("macro_precision") == pytest.approx((1 + 0.5 + 0) / 3)
    assert counts.mean("macro_f1") == pytest.approx((1.5 / 1.75 + 0.5 + 0) / 3)


@pytest.mark.parametrize(("classes", "n"), [(2, 50), (7, 300), (20, 40)])
def test_figures_are_scikit_learns(classes: int, n: int) -> None:
    labels, answers = drawn(classes, n, 0.6)
    counts = Counts.of(labels, answers, classes)
    expected = {"average": "macro", "zero_division": 0}
    assert counts.mean("macro_f1") == pytest.approx(
        sklearn_metrics.f1_score(labels, answers, **expected)
    )
    assert counts.mean("macro_precision") == pytest.approx(
        sklearn_metrics.precision_score(labels, answers, **expected)
    )
    assert counts.mean("macro_recall") == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, answers)
    )
    theirs = sklearn_metrics.confusion_matrix(labels, answers, labels=range(classes))
    assert np.array_equal(confusion(labels, answers, classes), theirs)
    by_class = sklearn_metrics.precision_recall_fscore_support(
        labels, answers, labels=range(classes), zero_division=0
    )
    for place, scores in enumerate(class_scores(labels, answers, classes)):
        ours = [0 if s is None else s.value for s in (scores.precision, scores.recall, scores.f1)]
        assert ours == pytest.approx([part[place] for part in by_class[:3]])


@pytest.mark.parametrize("digits", [1, 6])
def test_auroc_is_scikit_learns_ties_and_all(digits: int) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 200)
    scores = (random.random(200) + 0.3 * labels).round(digits)
    found = auroc(labels, scores)
    assert found.value == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))
    assert found.low < found.value < found.high


def test_auroc_by_hand_and_of_one_class_alone() -> None:
    # Pairs (1, 0): 0.9 > 0.1, 0.9 > 0.5, 0.5 > 0.1, 0.5 = 0.5: 3.5 of 4.
    assert auroc(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.5, 0.5])).value == 3.5 / 4
    assert auroc(np.array([1, 1]), np.array([0.1, 0.9])) is None


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_scikit_learns(k: int) -> None:
    random = np.random.default_rng(2)
    logits, labels = random.normal(size=(60, 10)), random.integers(0, 10, 60)
    theirs = sklearn_metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(10))
    assert among_best(logits, labels, k).mean() == pytest.approx(theirs)


def test_of_equal_logits_the_first_is_named() -> None:
    logits = np.zeros((3, 4))
    labels = np.array([0, 1, 3])
    assert among_best(logits, labels, 2).tolist() == [True, True, False]
    assert np.array_equal(among_best(logits, labels, 1), logits.argmax(1) == labels)


@pytest.mark.parametrize(
    ("classes", "k"), [(2, None), (3, None), (4, 2), (9, 4), (10, 5), (1000, 5)]
)
def test_the_k_of_few_classes_is_half_of_them(classes: int, k: int | None) -> None:
    assert few_best(classes) == k


def test_the_worst_class_by_hand() -> None:
    labels = np.repeat([0, 2], [100, 10])
    right = np.r_[np.arange(100) < 90, np.arange(10) < 7]
    worst = worst_recall(labels, right, 4)
    assert (worst.number, worst.n, worst.score.value) == (2, 10, 0.7)
    z = z_for_all_of(2)
    assert z == pytest.approx(2.2414, abs=1e-4)
    assert worst.score.low == wilson_interval(7, 10)[0]
    assert worst.score.high == min(wilson_interval(7, 10, z)[1], wilson_interval(90, 100, z)[1])


def test_the_largest_drop_of_a_class_by_hand() -> None:
    labels = np.repeat([0, 1], [100, 10])
    before = np.ones(110, bool)
    after = np.r_[np.arange(100) < 99, np.arange(10) < 8]  # 1 of 100 lost, 2 of 10
    worst = worst_drop(labels, before, after, 2)
    assert (worst.number, worst.n, worst.score.value) == (1, 10, pytest.approx(0.2))
    assert worst.score.high == paired_difference(2, 0, 10)[2]
    z = z_for_all_of(2)
    assert worst.score.low == max(
        paired_difference(2, 0, 10, z)[1], paired_difference(1, 0, 100, z)[1]
    )


def test_the_bounds_of_the_worst_hold_as_often_as_they_say() -> None:
    """Of many samples of ten equal classes: the least recall of all is within, 95 of 100 times."""
    random, truth, within = np.random.default_rng(5), 0.8, 0
    labels = np.repeat(np.arange(10), 30)
    for _ in range(300):
        score = worst_recall(labels, random.random(300) < truth, 10).score
        within += score.low <= truth <= score.high
    assert within >= 0.95 * 300


def test_a_bootstrap_is_alike_each_time_and_covers_what_it_should() -> None:
    labels, answers = drawn(5, 400, 0.8)
    score = mean_score(labels, answers, 5, "macro_f1")
    assert score == mean_score(labels, answers, 5, "macro_f1")
    # Of even classes, about that of top-1 as a share.
    low, high = wilson_interval(int((labels == answers).sum()), 400)
    assert score.low == pytest.approx(low, abs=0.015)
    assert score.high == pytest.approx(high, abs=0.015)


def test_without_a_mistake_the_interval_is_no_narrower_than_wilsons() -> None:
    labels = np.repeat([0, 1], 20)
    score = mean_score(labels, labels, 2, "macro_f1")
    assert (score.value, score.low) == (1, wilson_interval(40, 40)[0])
    drop = mean_drop(labels, labels, labels, 2, "macro_f1")
    assert drop.value == 0
    assert (drop.low, drop.high) == pytest.approx(paired_difference(0, 0, 40)[1:])


def test_a_drop_is_compared_image_by_image() -> None:
    labels, before = drawn(5, 1000, 0.8)
    after = before.copy()
    after[:10] = (labels[:10] + 1) % 5
    drop = mean_drop(labels, before, after, 5, "macro_recall")
    alone = mean_score(labels, before, 5, "macro_recall")
    counts = (Counts.of(labels, answers, 5).mean("macro_recall") for answers in (before, after))
    assert drop.value == pytest.approx(next(counts) - next(counts))
    assert drop.high - drop.low < (alone.high - alone.low) / 2


def test_a_hundred_classes_of_ten_thousand_images_take_about_a_second() -> None:
    labels, answers = drawn(100, 10_000, 0.8)
    began = time.process_time()
    class_scores(labels, answers, 100)
    mean_scores(labels, answers, 100)
    assert time.process_time() - began < 2
