"""A network from elsewhere is held against the figures that its user has."""

from __future__ import annotations

import numpy as np
import pytest

from foundation.errors import ModelMismatchError, RecipeError
from pipeline.training.expected_accuracy import (
    Answered,
    check_expected,
    remark_on_classes,
    remark_on_worth,
)
from smskd.checkpoints.foreign import Loaded

LABELS = [0, 1, 2, 3] * 25


def worth(right: int, n: int = 100) -> dict[str, float]:
    return {"top1": right / n, "n": n, "loss": 1.0}


def test_without_labels_nothing_can_be_expected() -> None:
    check_expected(None, None, "x.pt")
    with pytest.raises(RecipeError, match=r"90 % of the test images was expected .* no labels"):
        check_expected(None, 90.0, "x.pt")


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
        (
            ("a", "c", "b"),
            "in another order than the data has, at 2 of 3 places: class 1 is 'c' there, 'b' h",
        ),
        (
            ("a", "b", "x"),
            "other classes than the data has, 1 of 3, such as 'x': class 2 is 'x' there",
        ),
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


def test_classes_called_by_wordnets_ids_are_known_by_their_names() -> None:
    """ImageNet's folders have ids, and its networks note names."""
    loaded = Loaded(classes=("tench", "great white shark", "goldfish"))
    in_order = ["n01440764", "n01484850", "n01443537"]
    remark_on_classes(in_order, loaded, "x.pt", pytest.fail)
    lines: list[str] = []
    remark_on_classes(sorted(in_order), loaded, "x.pt", lines.append)
    assert "in another order than the data has, at 2 of 3 places: class 1 is 'great" in lines[0]


@pytest.mark.parametrize("noted", [("Dark_Side", "lights"), ("dark side", "LIGHTS")])
def test_classes_in_other_letters_are_the_same(noted: tuple[str, ...]) -> None:
    remark_on_classes(["dark side", "lights"], Loaded(classes=noted), "x.pt", pytest.fail)


class TestAnswersThatAreMoved:
    LABELS = np.repeat(np.arange(5), 20)

    def answered(self, predicted: np.ndarray) -> Answered:
        return Answered(predicted, self.LABELS, ["a", "b", "c", "d", "e"])

    def test_are_told_with_the_figure_of_the_order_that_they_show(self) -> None:
        lines: list[str] = []
        answers = self.answered(np.array([3, 0, 4, 2, 1])[self.LABELS])
        remark_on_worth(
            worth(0), self.LABELS, Loaded(), "x.pt", lines.append, answers=lambda: answers
        )
        assert "no better than chance" in lines[0]
        assert "in an order of their own: by it 100 of 100 test images (100.00 %)" in lines[1]
        assert "as they stand 0.00 %; images of class 0 ('a') are answered with 3 ('d')" in lines[1]

    def test_are_not_looked_for_where_most_are_right(self) -> None:
        remark_on_worth(worth(90), self.LABELS, Loaded(), "x.pt", pytest.fail, answers=pytest.fail)
