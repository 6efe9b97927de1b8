"""One folder with a picture of every odd kind, as a dataset reads it; the colours are known."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import UnreadableImageError
from pipeline.data import load_dataset
from pipeline.recipe.sections.data import DataRecipe

GROUND = [10, 200, 30]
SIDE = 16


def picture(mode: str, colour, **settings) -> Callable[[Path], None]:
    """Saves a picture of one colour."""
    return lambda path: Image.new(mode, (SIDE, SIDE), colour).save(path, **settings)


def deep(value: int) -> Callable[[Path], None]:
    """Saves grey of 16 bits."""
    return lambda path: Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)).save(path)


def lab(*bands: int) -> Callable[[Path], None]:
    planes = [Image.new("L", (SIDE, SIDE), value) for value in bands]
    return lambda path: Image.merge("LAB", planes).save(path)


def palette(path: Path) -> None:
    """Its first colour is clear, and so is all of it."""
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(path, transparency=0)


def animation(path: Path) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def turned(path: Path) -> None:
    """Red above blue once it is upright; stored, red is at the left (EXIF 6: turn to the right)."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((SIDE, SIDE, 3), np.uint8)
    stored[:, : SIDE // 2, 0], stored[:, SIDE // 2 :, 2] = 250, 250
    Image.fromarray(stored).save(path, exif=exif)


KINDS: dict[str, tuple[Callable[[Path], None], list[int]]] = {
    "a plain.png": (picture("RGB", (1, 2, 3)), [1, 2, 3]),
    "animated.gif": (animation, [250, 0, 0]),
    "animated.webp": (animation, [250, 0, 0]),
    "bilevel.png": (picture("1", 1), [255, 255, 255]),
    "clear palette.gif": (palette, GROUND),
    "clear.png": (picture("RGBA", (255, 0, 0, 0)), GROUND),
    "cmyk.jpg": (picture("CMYK", (255, 0, 0, 0), quality=98), [0, 255, 255]),
    "cmyk.tif": (picture("CMYK", (0, 255, 255, 0)), [255, 0, 0]),
    "deep.png": (deep(32768), [128, 128, 128]),
    "deep.tif": (deep(65535), [255, 255, 255]),
    "clear.webp": (picture("RGBA", (0, 0, 0, 0), lossless=True), GROUND),
    "lab.tif": (lab(255, 128, 128), [255, 255, 255]),
    "new\nline.png": (picture("RGB", (4, 5, 6)), [4, 5, 6]),
    "turned.png": (turned, [250, 0, 0]),
    "ünï.PNG": (picture("L", 77), [77, 77, 77]),
}
LINK = "link.png"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Class `odd` has a picture of each kind, and a link; class `plain` has one like any other."""
    root = tmp_path / "odd [set]"
    for name, (save, _) in KINDS.items():
        path = root / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path)
    (root / "plain/inner").mkdir(parents=True)
    picture("RGB", (9, 9, 9))(root / "plain/inner/1.png")
    (root / "odd" / LINK).symlink_to(root / "plain/inner/1.png")
    for name in ("Thumbs.db", ".DS_Store", "._a plain.png"):
        (root / "odd" / name).write_bytes(b"\0\5\x16\7")
    return root


def load(root: Path, **settings):
    settings = {"image_size": SIDE, "ground": GROUND, **settings}
    return load_dataset(DataRecipe(name=f"folder:{root}", **settings))


def test_each_kind_has_the_colours_that_a_viewer_shows(odd: Path) -> None:
    images = load(odd).train
    names = [*sorted([*KINDS, LINK]), "plain"]
    assert images.labels.tolist() == [0] * (len(KINDS) + 1) + [1]
    pixels = images.read(np.arange(len(names)))
    corners = dict(zip(names, pixels[:, 0, 0].astype(int).tolist(), strict=True))
    expected = {name: colour for name, (_, colour) in KINDS.items()}
    expected |= {LINK: [9, 9, 9], "plain": [9, 9, 9]}
    assert {
        name: corners[name]
        for name, colour in expected.items()
        if np.abs(np.subtract(corners[name], colour)).max() > 4
    } == {}
    # Red above blue, though it is stored with red at the left.
    assert pixels[names.index("turned.png"), -1, 0].tolist() == [0, 0, 250]


def cut_short(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    path.write_bytes(file.getvalue()[:-500])


def bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(cut_short, "a JPEG picture that is cut short or damaged"), (bomb, "400.0 megapixels, over")],
)
def test_one_that_cannot_be_shown_is_refused_in_one_line_or_passed_over(
    odd: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(odd / "odd/spoilt.jpg")
    with pytest.raises(UnreadableImageError, match=rf"odd/spoilt\.jpg: .*{words}") as caught:
        load(odd)
    assert "\n" not in str(caught.value)
    passing = load(odd, on_bad_image="skip")
    assert passing.skipped == (str(odd / "odd/spoilt.jpg"),)
    assert len(passing.train.labels) == len(KINDS) + 2
