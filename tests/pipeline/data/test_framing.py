"""How pictures become images, held pixel by pixel against torchvision's own transforms."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from foundation.bundle import Preprocessing
from foundation.preprocessing import FILTERS, FITS, NOT_ANTIALIASED
from pipeline.data.framing import Fit, Window, framed, keeps_all, scaled_box

SHAPES = [(37, 64), (64, 37), (50, 50), (9, 90), (200, 31), (20, 21), (33, 100)]


def picture(height: int, width: int, channels: int = 3) -> Image.Image:
    """Smooth in places and rough in others, as a photo is."""
    random = np.random.default_rng(height * 1000 + width)
    rough = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    down, across = np.mgrid[0:height, 0:width]
    smooth = (127 + 120 * np.sin(down / 7)[..., None] * np.cos(across / 5)[..., None]).repeat(
        channels, 2
    )
    pixels = np.where((down + across)[..., None] % 40 < 20, smooth, rough).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def taken(image: Image.Image, framing: Fit) -> np.ndarray:
    window = framing.window(0, image.height, image.width)
    return framed(image, window, framing)


def furthest(first: np.ndarray, second: np.ndarray) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def mode(name: str) -> v2.InterpolationMode:
    return v2.InterpolationMode(name)


class TestTorchvisionsTransforms:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize(("resize_to", "size"), [(32, 28), (28, 28), (24, 30)])
    @pytest.mark.parametrize("name", FILTERS)
    def test_crop_as_ours_does(
        self, shape: tuple[int, int], resize_to: int, size: int, name: str
    ) -> None:
        image = picture(*shape)
        ours = taken(image, Fit(size, size, "crop", (resize_to, resize_to), name))
        theirs = v2.Compose([v2.Resize(resize_to, mode(name)), v2.CenterCrop(size)])(image)
        assert furthest(ours, np.asarray(theirs)) == 0

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("name", ["bilinear", "bicubic"])
    def test_and_so_on_tensors_within_a_shade(self, shape: tuple[int, int], name: str) -> None:
        image = picture(*shape)
        pixels = torch.from_numpy(np.asarray(image)).permute(2, 0, 1)
        ours = taken(image, Fit(28, 28, "crop", (32, 32), name))
        steps = [v2.Resize(32, mode(name), antialias=True), v2.CenterCrop(28)]
        theirs = v2.Compose(steps)(pixels).permute(1, 2, 0).numpy()
        assert furthest(ours, theirs) <= 1

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("channels", [1, 3])
    def test_squash_as_ours_does(self, shape: tuple[int, int], channels: int) -> None:
        image = picture(*shape, channels)
        ours = taken(image, Fit(20, 30, resize="bicubic"))
        theirs = v2.Resize((20, 30), mode("bicubic"))(image)
        assert furthest(ours, np.asarray(theirs)) == 0

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_pad_as_ours_does(self, shape: tuple[int, int]) -> None:
        image = picture(*shape)
        ours = taken(image, Fit(24, 24, "pad", pad_colour=(9, 99, 199)))
        longer = max(shape)
        high, wide = (max(1, round(24 * side / longer)) for side in shape)
        above, left = (24 - high) // 2, (24 - wide) // 2
        steps = [
            v2.Resize((high, wide)),
            v2.Pad((left, above, 24 - wide - left, 24 - high - above), fill=(9, 99, 199)),
        ]
        assert furthest(ours, np.asarray(v2.Compose(steps)(image))) == 0

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_do_without_antialiasing_as_ours_does(self, shape: tuple[int, int]) -> None:
        """Pillow has no such resize; torch has, on tensors."""
        image = picture(*shape)
        pixels = torch.from_numpy(np.asarray(image)).permute(2, 0, 1)
        ours = taken(image, Fit(16, 24, antialias=False))
        theirs = v2.Resize((16, 24), antialias=False)(pixels).permute(1, 2, 0).numpy()
        assert furthest(ours, theirs) <= 1
        assert furthest(ours, taken(image, Fit(16, 24))) > 10


class TestAFitByHand:
    def test_covers_by_the_tighter_side_whatever_the_shape_of_the_image(self) -> None:
        crop = Fit(20, 40, "crop", (30, 50))
        assert crop.window(0, 300, 1000) == Window((30, 100), (5, 30))
        assert crop.window(0, 1000, 300) == Window((166, 50), (73, 5))

    def test_fits_in_by_the_longer_side(self) -> None:
        pad = Fit(20, 40, "pad")
        assert pad.window(0, 100, 100) == Window((20, 20), (0, -10))
        assert pad.window(0, 10, 100) == Window((4, 40), (-8, 0))
        assert pad.window(0, 1, 1000) == Window((1, 40), (-9, 0))

    def test_takes_the_same_share_at_another_size(self) -> None:
        assert Fit(224, 224, "crop", (256, 256)).at(112, 112).resize_to == (128, 128)
        assert Fit(8, 8).at(4, 6) == Fit(4, 6)

    def test_reduces_only_what_is_very_large(self) -> None:
        crop = Fit(224, 224, "crop", (256, 256))
        assert crop.window(0, 4000, 6000).reduction == 1
        assert crop.window(0, 6000, 9000).reduction == 7

    def test_pads_a_grey_picture_with_grey(self) -> None:
        image = Image.new("L", (4, 2), 7)
        pixels = taken(image, Fit(4, 4, "pad", pad_colour=(255, 0, 0)))
        # 0.299 of 255, as Pillow weighs red
        assert pixels.tolist() == [[76] * 4, [7] * 4, [7] * 4, [76] * 4]

    def test_keeps_what_is_already_right(self) -> None:
        assert keeps_all(Fit(8, 6), 8, 6)
        assert keeps_all(Fit(8, 8, "crop"), 8, 8)
        assert not keeps_all(Fit(8, 8, "crop", (9, 9)), 8, 8)
        assert not keeps_all(Fit(8, 8), 8, 9)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["bilinear", "bicubic", "nearest"])
def test_a_box_is_resampled_by_itself(resize: str, channels: int) -> None:
    part = picture(40, 60, channels)
    for size in ((10, 12), (80, 90), (40, 60)):
        window = Window(size, box=(40, 20, 80, 60))
        expected = part.resize(size[::-1], Image.Resampling[resize.upper()])
        ours = framed(part, window, Fit(*size, resize=resize))
        assert furthest(ours, np.asarray(expected)) <= 1


def test_a_box_lies_where_it_did_in_a_picture_that_was_made_smaller() -> None:
    assert scaled_box((40, 20, 80, 60), (120, 80), (60, 40)) == (20, 10, 40, 30)
    assert scaled_box((0, 0, 120, 80), (120, 80), (60, 40)) == (0, 0, 60, 40)
    # At least a pixel, and within the picture.
    assert scaled_box((119, 79, 120, 80), (120, 80), (15, 10)) == (14, 9, 15, 10)


class TestTheRecord:
    RIGHT = Preprocessing(8, 8, 3, [0.5] * 3, [0.5] * 3)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"fit": "stretch"}, "fit is 'stretch', but must be one of squash, crop, pad"),
            ({"resize": "area"}, "resize is 'area'"),
            ({"resize_to": [8]}, r"resize_to is \[8\]"),
            ({"pad_colour": [0, 0, 256]}, "pad_colour is"),
            ({"antialias": False, "resize": "bicubic"}, "always antialiases"),
            ({"resize_embedded": True}, "resizing is in the graph, but normalising is not"),
            ({"orientation": "up"}, "orientation is 'up'"),
        ],
    )
    def test_tells_what_cannot_be(self, wrong: dict, words: str) -> None:
        (problem,) = replace(self.RIGHT, **wrong).problems()
        assert re.search(words, problem)

    def test_is_sensible_in_every_combination(self) -> None:
        make = partial(replace, self.RIGHT)
        for fit in FITS:
            for name in FILTERS:
                assert not list(make(fit=fit, resize=name).problems())
        for name in NOT_ANTIALIASED:
            assert not list(make(resize=name, antialias=False).problems())
