"""A network from elsewhere is held against the figures that its user has."""

from __future__ import annotations

import pytest

from foundation.errors import ModelMismatchError
from pipeline.training.expected_accuracy import check_expected, remark_on_classes, remark_on_worth
from smskd.checkpoints.foreign import Loaded

LABELS = [0, 1, 2, 3] * 25


def worth(right: int, n: int = 100) -> dict[str, float]:
    return {"top1": right / n, "n": n, "loss": 1.0}


@pytest.mark.parametrize(
    ("right", "n", "expected"),
    [(90, 100, None), (90, 100, 90.0), (90, 100, 95.0), (100, 100, 91.0), (9100, 10_000, 92.5)],
)
def test_what_chance_and_a_point_explain_is_no_failure(
    right: int, n: int, expected: float | None
) -> None:
    check_expected(worth(right, n), expected, "x.pt")


@pytest.mark.parametrize(
    ("right", "n", "expected"), [(25, 100, 91.2), (90, 100, 96.0), (9100, 10_000, 92.7)]
)
def test_what_falls_short_is_told_with_both_figures(right: int, n: int, expected: float) -> None:
    with pytest.raises(ModelMismatchError) as refused:
        check_expected(worth(right, n), expected, "x.pt")
    assert f"x.pt: answers {100 * right / n:.2f} % of {n} test images" in str(refused.value)
    assert f"but {expected:.2f} % was expected" in str(refused.value)
    assert "data.mean" in str(refused.value)
    assert refused.value.exit_code == 19


@pytest.mark.parametrize(
    ("right", "loaded", "words"),
    [
        (25, Loaded(), "no better than chance"),
        (30, Loaded(), "no better than chance"),
        (60, Loaded(), None),
        (60, Loaded(accuracy=("best_acc1", 91.25)), "its checkpoint notes best_acc1 = 91.25 %"),
        (90, Loaded(accuracy=("acc", 91.25)), None),
    ],
)
def test_a_trained_network_that_does_not_do_what_it_did_is_remarked_on(
    right: int, loaded: Loaded, words: str | None
) -> None:
    lines: list[str] = []
    remark_on_worth(worth(right), LABELS, loaded, "x.pt", lines.append)
    assert bool(lines) == bool(words)
    assert all(words in line and "data.mean" in line for line in lines)


def test_naming_the_most_frequent_class_is_chance_too() -> None:
    lines: list[str] = []
    remark_on_worth(worth(90), [0] * 90 + [1] * 10, Loaded(), "x.pt", lines.append)
    assert "no better than chance" in lines[0]


def test_few_images_say_nothing_of_chance() -> None:
    remark_on_worth(worth(2, 8), [0, 1] * 4, Loaded(), "x.pt", pytest.fail)


@pytest.mark.parametrize(
    ("noted", "words"),
    [
        (("a", "c", "b"), "in another order than the data has: class 1 is 'c' there, 'b' here"),
        (("a", "b", "x"), "other classes than the data has, such as 'x'"),
        (("a", "b", "c"), None),
        (("a", "b"), None),
        (None, None),
    ],
)
def test_classes_that_a_checkpoint_notes_otherwise_are_told(
    noted: tuple[str, ...] | None, words: str | None
) -> None:
    lines: list[str] = []
    remark_on_classes(["a", "b", "c"], Loaded(classes=noted), "x.pt", lines.append)
    assert bool(lines) == bool(words)
    assert all(words in line for line in lines)
