"""The lines of Python on a bundle's card, run on files, against what we read of them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from export.bundling import make_bundles
from export.checking.reference import torch_predictor
from export.preparing import fitting_words, preparing_lines
from export.requests import BundleRequest, Embedding, ExportSource
from foundation.bundle import open_bundle
from foundation.preprocessing import FILTERS, FITS, Preprocessing
from pipeline.data.channels import recoloured
from pipeline.data.decoding import decode
from pipeline.data.framing import Fit
from pipeline.data.images import framed_pixels
from pipeline.data.listing import Listing
from pipeline.data.opening import Viewing


def shape_of(**settings: Any) -> Preprocessing:
    channels = settings.pop("channels", 3)
    values = {"height": 24, "width": 24, "mean": [0.4] * channels, "std": [0.2] * channels}
    return Preprocessing(**{**values, "channels": channels, **settings})


def by_the_card(shape: Preprocessing, path: Path) -> np.ndarray:
    names: dict[str, Any] = {}
    exec(preparing_lines(shape), names)
    prepared: np.ndarray = names["prepare"](path)
    return prepared


def by_us(shape: Preprocessing, path: Path) -> np.ndarray:
    red, green, blue = shape.ground
    viewing = Viewing((red, green, blue), grey_bits=shape.grey_bits)
    image = decode(Listing(path.parent, [path.name]), 0, Fit.of(shape), viewing)
    return shape.prepare(recoloured(image[None], shape.channels))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo that a camera has turned."""
    random = np.random.default_rng(0)
    rough = Image.fromarray(random.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    rough.resize((90, 61), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", exif=exif)
    return tmp_path / "a.jpg"


@pytest.mark.parametrize(
    ("fit", "resize_to", "channels"),
    list(product(FITS, (None, [28, 28], [20, 30]), (1, 3))),
    ids=str,
)
def test_every_fit_gives_what_we_read(
    photo: Path, fit: str, resize_to: list[int] | None, channels: int
) -> None:
    shape = shape_of(fit=fit, resize_to=resize_to, channels=channels, pad_colour=[9, 99, 199])
    np.testing.assert_array_equal(by_the_card(shape, photo), by_us(shape, photo))


@pytest.mark.parametrize("name", FILTERS)
def test_and_so_does_every_filter(photo: Path, name: str) -> None:
    shape = shape_of(fit="crop", resize_to=[28, 28], resize=name, embedded=True)
    np.testing.assert_array_equal(by_the_card(shape, photo), by_us(shape, photo))


def test_and_so_without_antialiasing(photo: Path) -> None:
    shape = shape_of(antialias=False, height=20, width=31)
    np.testing.assert_array_equal(by_the_card(shape, photo), by_us(shape, photo))


def odd_files(folder: Path) -> dict[str, Image.Image]:
    slope = np.linspace(0, 255, 40 * 30).astype(np.uint8).reshape(30, 40)
    rgb = np.stack([slope, slope[::-1], 255 - slope], axis=2)
    alpha = np.dstack([rgb, slope.T.reshape(30, 40)])
    return {
        "grey.png": Image.fromarray(slope),
        "deep.png": Image.fromarray(slope.astype(np.uint16) * 257),
        "palette.png": Image.fromarray(rgb).quantize(16),
        "clear.png": Image.fromarray(alpha),
        "clear.gif": Image.fromarray(alpha).convert("RGBA").quantize(8),
        "grey-clear.png": Image.fromarray(alpha[..., 2:], "LA"),
        "four.jpg": Image.fromarray(rgb).convert("CMYK"),
        "two.png": Image.fromarray(slope > 99),
    }


@pytest.mark.parametrize("name", odd_files(Path()))
def test_odd_kinds_of_files_are_seen_as_we_see_them(tmp_path: Path, name: str) -> None:
    odd_files(tmp_path)[name].save(tmp_path / name)
    shape = shape_of(fit="crop", resize_to=[26, 26], ground=[10, 20, 200])
    np.testing.assert_array_equal(
        by_the_card(shape, tmp_path / name), by_us(shape, tmp_path / name)
    )


def test_words_say_what_is_done() -> None:
    crop = shape_of(fit="crop", resize_to=[28, 28], resize="bicubic")
    assert fitting_words(crop) == (
        "its shorter side is brought to 28 (bicubic) and the middle of 24 × 24 is cut out"
    )
    assert "squashed to 24 × 24 (bilinear)" in fitting_words(shape_of())
    assert "what lacks is [0, 0, 0]" in fitting_words(shape_of(fit="pad"))


@pytest.mark.parametrize("embedding", ["none", "normalise", "resize"])
def test_the_cards_lines_on_a_photo_give_the_bundles_logits(
    source: ExportSource, photo: Path, tmp_path: Path, embedding: Embedding
) -> None:
    shape = replace(source.preprocessing, fit="crop", resize_to=[40, 40], resize="bicubic")
    fit = Fit.of(shape)
    own = replace(
        source, preprocessing=shape, fit=lambda pixels: framed_pixels(pixels[None], fit)[0]
    )
    make_bundles(own, [BundleRequest("local", "onnx", "fp32", embedding=embedding)], tmp_path)
    bundle = open_bundle(tmp_path / "local-onnx-fp32")
    card = (bundle.folder / "README.md").read_text()
    lines = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1]
    names: dict[str, Any] = {}
    exec(lines.replace("photo.jpg", str(photo)), names)
    session = onnxruntime.InferenceSession(bundle.model_path)
    (logits,) = session.run(None, {bundle.manifest.input.name: names["inputs"]})
    image = decode(Listing(photo.parent, [photo.name]), 0, fit)[None]
    reference = torch_predictor(source.model)(shape.apply(image))
    assert np.abs(logits - reference).max() <= 0.02 * np.abs(reference).max()
    assert logits.argmax() == reference.argmax()
