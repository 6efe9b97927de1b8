from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from pipeline.data.cropping import RandomCrop, drawn_box
from pipeline.data.framing import Fit, framed

IDS = np.arange(2000)


def crop(min_area: float = 0.08, ids: np.ndarray = IDS, seed: int = 0, view: int = 0) -> RandomCrop:
    return RandomCrop.of(Fit(60, 50), min_area, ids, seed, view)


def boxes(min_area: float, height: int, width: int) -> np.ndarray:
    """Left, top, right and bottom of 2,000 boxes, shape (2000, 4)."""
    framing = crop(min_area)
    return np.array([framing.window(place, height, width).box for place in range(len(IDS))])


def test_a_box_is_a_function_of_seed_sample_view_and_size() -> None:
    window = crop().window(7, 375, 500)
    assert crop().window(7, 375, 500) == window
    # Wherever among those that are read at once.
    assert crop(ids=np.array([3, 7])).window(1, 375, 500) == window
    others = [crop(seed=1), crop(view=1), crop(ids=IDS + 1)]
    assert all(other.window(7, 375, 500) != window for other in others)


def test_area_and_aspect_are_drawn_evenly_within_their_bounds() -> None:
    left, top, right, bottom = boxes(0.25, 2000, 2000).T
    width, height = right - left, bottom - top
    area, aspect = width * height / 2000**2, width / height
    assert 0.249 < area.min() < 0.26
    assert area.max() > 0.97
    assert 0.749 < aspect.min() < 0.76
    assert 1.31 < aspect.max() < 1.334
    # Its logarithm is evenly spread, but wide boxes of much area do not fit.
    small = area < 0.5
    assert abs(np.log(aspect[small]).mean()) < 0.02
    assert abs((area[small] < 0.375).mean() - 0.5) < 0.05


def test_boxes_lie_within_the_picture_and_reach_its_corners() -> None:
    found = boxes(0.25, 30, 40)
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= (40, 30)).all()
    for x, y in itertools.product((0, 40), (0, 30)):
        assert ((found[:, 0 if x == 0 else 2] == x) & (found[:, 1 if y == 0 else 3] == y)).any()


@pytest.mark.parametrize(
    ("draws", "height", "width", "expected"),
    [
        # Half of the area, square: 0.08 + 0.92 × 0.456522 = 0.5 of 200 × 100; 100 × 100 at the
        # middle of the 101 places.
        ([0.42 / 0.92, 0.5, 0.3, 0.5], 100, 200, (50, 0, 150, 100)),
        ([0.0, 0.5, 0.0, 0.999], 100, 100, (72, 0, 100, 28)),
    ],
)
def test_boxes_worked_out_by_hand(draws, height: int, width: int, expected) -> None:
    assert drawn_box(iter(draws), height, width, 0.08) == expected


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1000, 10, (0, 493, 10, 506)),  # 10 ÷ (3/4) = 13 rows
        (10, 1000, (493, 0, 506, 10)),
        (30, 40, (0, 0, 40, 30)),
    ],
)
def test_where_no_box_fits_it_is_the_middle(height: int, width: int, expected) -> None:
    nearly_all = itertools.repeat(1 - 1e-9)
    assert drawn_box(nearly_all, height, width, 0.999) == expected


def test_boxes_are_spread_as_torchvisions_are() -> None:
    """Two samples of boxes of one photo's shape, quantile by quantile."""
    torch.manual_seed(0)
    image = torch.zeros(3, 375, 500)
    reference = v2.RandomResizedCrop(224)
    drawn = [reference.make_params([image]) for _ in range(2000)]
    theirs = np.array([[d["left"], d["top"], d["width"], d["height"]] for d in drawn])
    ours = boxes(0.08, 375, 500)
    ours[:, 2:] -= ours[:, :2]
    for column in range(4):
        quantiles = [
            np.quantile(sample[:, column], np.linspace(0.05, 0.95, 10)) for sample in (ours, theirs)
        ]
        assert np.abs(quantiles[0] - quantiles[1]).max() < 22


def test_pixels_are_torchvisions_of_the_same_box() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((257, 191), Image.Resampling.BICUBIC)
    framing = crop()
    for place in range(40):
        window = framing.window(place, picture.height, picture.width)
        left, top, right, bottom = window.box
        expected = v2.functional.resized_crop(
            picture, top, left, bottom - top, right - left, [60, 50]
        )
        ours = framed(picture.crop(window.box), window, framing)
        assert np.abs(ours.astype(int) - np.asarray(expected)).max() <= 1


def test_a_box_of_many_pixels_may_be_decoded_smaller() -> None:
    framing = crop(min_area=0.99)
    for (height, width), expected in {
        (239, 199): {1},
        (260, 220): {2},
        (1000, 800): {7, 8},
    }.items():
        windows = [framing.window(place, height, width) for place in range(50)]
        assert {window.draft for window in windows} == expected
        for window in windows:
            left, top, right, bottom = window.box
            # What is left of the box is twice as large as the image.
            assert window.draft == 1 or (bottom - top) // window.draft >= 2 * 60
            assert window.draft == 1 or (right - left) // window.draft >= 2 * 50
            assert window.reduction == 1
