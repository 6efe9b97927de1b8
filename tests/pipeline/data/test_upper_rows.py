from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import upper_rows
from pipeline.data.framing import Window
from pipeline.data.opening import UnseenError, Viewing
from pipeline.data.viewing import viewed

BOX = (30, 20, 110, 90)


def photo(mode: str = "RGB", size: tuple[int, int] = (203, 301)) -> Image.Image:
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(40, 256, (12, 9, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(picture: Image.Image, **settings: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=90, **settings)
    return buffer.getvalue()


def seen(content: bytes, box=BOX, draft: int = 1) -> np.ndarray:
    window = Window((10, 10), box=box, draft=draft)
    return np.asarray(viewed(BytesIO(content), Viewing(), lambda _height, _width: window).picture)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each attempt to decode part of a picture came to."""
    answers: list[bool] = []
    load = upper_rows.load

    def counted(image: Image.Image, count: int) -> bool:
        answers.append(load(image, count))
        return answers[-1]

    monkeypatch.setattr(upper_rows, "load", counted)
    return answers


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 2}),
        ("RGB", {"restart_marker_rows": 1}),
        ("RGB", {"optimize": True}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
def test_the_rows_are_those_of_the_whole_picture(mode, settings, counts, monkeypatch) -> None:
    content = encoded(photo(mode), **settings)
    for box in (BOX, (0, 0, 203, 1), (0, 0, 1, 200), (202, 33, 203, 290)):
        part = seen(content, box)
        with monkeypatch.context() as patch:
            patch.setattr(upper_rows, "fit", lambda _image, _count: False)
            np.testing.assert_array_equal(part, seen(content, box))
    assert counts == [True] * 4


def test_a_picture_that_is_decoded_smaller_is_cut_off_too(counts, monkeypatch) -> None:
    content = encoded(photo())
    part = seen(content, draft=2)
    monkeypatch.setattr(upper_rows, "fit", lambda _image, _count: False)
    np.testing.assert_array_equal(part, seen(content, draft=2))
    assert part.shape == (35, 40, 3)
    assert counts == [True]


@pytest.mark.parametrize("kind", ["progressive", "png", "nearly all"])
def test_what_does_not_come_row_by_row_is_decoded_as_a_whole(kind: str, counts) -> None:
    box = BOX
    if kind == "png":
        buffer = BytesIO()
        photo().save(buffer, "PNG")
        content = buffer.getvalue()
    else:
        content = encoded(photo(), progressive=kind == "progressive")
        box = (0, 0, 203, 299) if kind == "nearly all" else box
    assert seen(content, box).shape == (box[3] - box[1], box[2] - box[0], 3)
    assert counts == []


def test_a_row_that_really_is_black_is_decoded_again(counts) -> None:
    pixels = np.asarray(photo()).copy()
    pixels[64:112] = 0
    content = encoded(Image.fromarray(pixels))
    part = seen(content, (0, 0, 203, 90))
    assert part[:60].any()
    assert not part[80:].any()
    assert counts == [False]


def test_a_file_that_is_cut_short_within_the_rows_is_told() -> None:
    content = encoded(photo(), subsampling=0)
    with pytest.raises(UnseenError, match="cut short or damaged"):
        seen(content[: len(content) // 5], (0, 0, 203, 280))


def test_all_of_a_picture_comes_from_a_file_as_it_does_from_memory(tmp_path: Path) -> None:
    content = encoded(photo())
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    window = Window((10, 10), box=BOX)
    view = viewed(path, Viewing(), lambda _height, _width: window)
    np.testing.assert_array_equal(np.asarray(view.picture), seen(content))
    assert (view.height, view.width) == (301, 203)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_box_is_that_of_the_upright_picture(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    photo().save(buffer, kind, exif=exif, **({"subsampling": 0} if kind == "JPEG" else {}))
    source = BytesIO(buffer.getvalue())
    height, width = (301, 203) if orientation < 5 else (203, 301)
    whole = viewed(source, Viewing(), lambda *_size: Window((height, width)))
    assert (whole.height, whole.width) == (height, width)
    for box in ((10, 20, 60, 100), (100, 3, 199, 31), (0, 0, width, height)):
        part = viewed(source, Viewing(), lambda *_size, box=box: Window((9, 9), box=box))
        np.testing.assert_array_equal(
            np.asarray(part.picture), np.asarray(whole.picture.crop(box)), f"{box}"
        )
