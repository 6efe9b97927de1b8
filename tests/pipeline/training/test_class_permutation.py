from __future__ import annotations

import numpy as np
import pytest

from pipeline.data.class_order import class_order
from pipeline.training.class_permutation import permutation_in

LABELS = np.repeat(np.arange(10), 12)
NAMES = [f"class {number}" for number in range(10)]
PETS = ["dog", "cat", "emu", "ant", "bee", "cow", "fox", "owl", "pig", "rat"]


def mistaken(predicted: np.ndarray, share: float, classes: int, seed: int = 0) -> np.ndarray:
    """The same answers, a share of them drawn anew."""
    random = np.random.default_rng(seed)
    wrong = random.random(len(predicted)) < share
    return np.where(wrong, random.integers(0, classes, len(predicted)), predicted)


def test_classes_in_an_order_of_their_own_are_told_with_figures() -> None:
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])  # the logit that answers to each class
    permutation = permutation_in(mistaken(order[LABELS], 0.1, 10), LABELS, NAMES)
    assert permutation is not None
    assert permutation.order == "an order of their own"
    assert permutation.count == len(LABELS)
    assert 0.8 < permutation.right / permutation.count < 1
    label, logit = permutation.example
    assert order[label] == logit


def test_two_classes_that_changed_places_are_told() -> None:
    order = np.arange(10)
    order[[2, 7]] = [7, 2]
    permutation = permutation_in(order[LABELS], LABELS, NAMES)
    assert permutation is not None
    assert (permutation.right, permutation.example) == (120, (2, 7))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (sorted(range(10), key=lambda n: PETS[n]), "the order of the alphabet"),
        ([(n - 1) % 10 for n in range(10)], "one place further"),
        ([(n + 1) % 10 for n in range(10)], "one place before"),
    ],
)
def test_orders_that_come_of_sorting_are_named(order: list[int], words: str) -> None:
    """`order` has the class of each logit."""
    logit_of = np.argsort(order)
    permutation = permutation_in(logit_of[LABELS], LABELS, PETS)
    assert permutation is not None
    assert permutation.order == words


def test_one_image_a_class_is_enough_for_an_order_that_is_known() -> None:
    """Numbers sorted as text: 0, 1, 10, 100, 101, …"""
    labels = np.arange(0, 1000, 5)
    logit_of = np.argsort(sorted(range(1000), key=str))
    names = [f"class {1999 - number}" for number in range(1000)]
    permutation = permutation_in(mistaken(logit_of[labels], 0.2, 1000), labels, names)
    assert permutation is not None
    assert "numbers as text" in permutation.order


def test_a_known_order_is_named_where_it_has_just_these_classes() -> None:
    """Folders sorted by their names, and a network in ImageNet's own order."""
    known = class_order("imagenet1k").classes
    names = sorted(known, key=str.casefold)
    labels = np.arange(0, 1000, 5)
    logit_of = np.array([known.index(name) for name in names])
    permutation = permutation_in(mistaken(logit_of[labels], 0.2, 1000), labels, names)
    assert permutation is not None
    assert permutation.order == "the order of imagenet1k"


@pytest.mark.parametrize("seed", range(20))
def test_a_network_without_any_order_is_given_none(seed: int) -> None:
    """Of one image a class every set of answers looks like an order."""
    random = np.random.default_rng(seed)
    for labels, count in ((LABELS, 10), (np.arange(100), 100), (np.repeat(np.arange(50), 2), 50)):
        names = [f"class {number}" for number in range(count)]
        assert permutation_in(random.integers(0, count, len(labels)), labels, names) is None
        assert permutation_in(np.full(len(labels), 3), labels, names) is None


def test_a_network_that_is_right_is_left_alone() -> None:
    for share in (0.0, 0.1, 0.5):
        assert permutation_in(mistaken(LABELS, share, 10), LABELS, NAMES) is None


def test_most_images_of_one_class_are_no_order() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    assert permutation_in(np.ones(100, np.int64), labels, ["a", "b"]) is None


def test_few_images_tell_nothing() -> None:
    labels = np.arange(10)
    assert permutation_in((labels + 1) % 10, labels, NAMES) is None
