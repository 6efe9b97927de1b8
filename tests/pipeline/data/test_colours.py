"""Odd kinds of pixels, written byte by byte: what must be seen was worked out by hand."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import viewing
from pipeline.data.framing import Window
from pipeline.data.opening import UnseenError, Viewing
from pipeline.data.viewing import viewed

GROUND = (10, 200, 30)
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # a PNG's colour types
UNSIGNED, SIGNED = 1, 2  # a TIFF's kinds of numbers


def as_it_is(reduction: int, height: int, width: int) -> Window:
    return Window((height, width), reduction=reduction)


def seen(path: Path, **settings) -> list[list[int]]:
    """The pixels of a picture's first row."""
    whole = partial(as_it_is, 1)
    pixels = np.asarray(viewed(path, Viewing(**settings), whole).picture)
    return pixels[0].tolist()


def grey(*shades: int) -> list[list[int]]:
    return [[shade] * 3 for shade in shades]


def png(bits: int, colour: int, row: bytes, width: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of one row."""
    head = struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def tiff(row: bytes, width: int, bits: int, white: int, kind: int = UNSIGNED) -> bytes:
    """A grey TIFF file, of which `white` says whether it is the highest value (1) or zero (0)."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, white), (273, 0), (277, 1),
            (278, 1), (279, len(row)), (339, kind)]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    places = [(tag, start if tag == 273 else value) for tag, value in tags]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in places)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + row


class TestAPngOfSixteenBits:
    """Pixels are read by their upper 8 bits where they are coloured, and rounded where grey."""

    @pytest.mark.parametrize(
        ("colour", "row", "expected"),
        [
            (GREY, words(0, 16384, 32768, 65535), grey(0, 64, 128, 255)),
            (RGB, words(65535, 32768, 0, 257, 514, 65535), [[255, 128, 0], [1, 2, 255]]),
            (GREY_ALPHA, words(32768, 65535, 1234, 0), [[128] * 3, list(GROUND)]),
            (RGBA, words(65535, 32768, 0, 65535, 9, 9, 9, 0), [[255, 128, 0], list(GROUND)]),
        ],
    )
    def test_is_scaled(self, tmp_path: Path, colour: int, row: bytes, expected) -> None:
        channels = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGBA: 4}[colour]
        (tmp_path / "a.png").write_bytes(png(16, colour, row, len(row) // 2 // channels))
        assert seen(tmp_path / "a.png", ground=GROUND) == expected

    def test_shows_the_ground_where_a_grey_value_means_clear(self, tmp_path: Path) -> None:
        """300 and 301 are one shade of 8 bits, but only one of them is clear."""
        content = png(16, GREY, words(300, 301, 65535), 3, (b"tRNS", words(300)))
        (tmp_path / "a.png").write_bytes(content)
        assert seen(tmp_path / "a.png", ground=GROUND) == [list(GROUND), [1] * 3, [255] * 3]

    @pytest.mark.parametrize("clear", [(10, 10, 10), (65535, 65535, 65535), (2570, 2570, 2570)])
    def test_shows_the_ground_where_a_colour_means_clear(self, tmp_path: Path, clear) -> None:
        row = words(*clear, 65535, 0, 0, 2827, 2827, 2827)  # 2827 is 11 in its upper and lower bits
        content = png(16, RGB, row, 3, (b"tRNS", words(*clear)))
        (tmp_path / "a.png").write_bytes(content)
        assert seen(tmp_path / "a.png", ground=GROUND) == [list(GROUND), [255, 0, 0], [11] * 3]


@pytest.mark.parametrize(
    ("bits", "row", "expected"),
    [
        (1, bytes([0b01000000]), grey(0, 255)),
        (2, bytes([0b00011011]), grey(0, 85, 170, 255)),
        (4, bytes([0x0F, 0x50]), grey(0, 255, 85)),
    ],
)
def test_grey_of_few_bits_goes_from_black_to_white(tmp_path: Path, bits, row, expected) -> None:
    (tmp_path / "a.png").write_bytes(png(bits, GREY, row, len(expected)))
    assert seen(tmp_path / "a.png") == expected


def test_a_palette_of_four_bits_may_be_half_clear(tmp_path: Path) -> None:
    """Blue at 128 of 255 on white: 255 − 128 of red and green are left."""
    chunks = ((b"PLTE", bytes([255, 0, 0, 0, 0, 255])), (b"tRNS", bytes([255, 128])))
    (tmp_path / "a.png").write_bytes(png(4, PALETTE, bytes([0x01]), 2, *chunks))
    assert seen(tmp_path / "a.png") == [[255, 0, 0], [127, 127, 255]]


class TestATiff:
    @pytest.mark.parametrize(
        ("row", "bits", "kind", "expected"),
        [
            (bytes([0, 100, 255]), 8, UNSIGNED, grey(255, 155, 0)),
            (struct.pack("<3H", 0, 16384, 65535), 16, UNSIGNED, grey(255, 191, 0)),
        ],
    )
    def test_in_which_white_is_zero_is_not_a_negative(
        self, tmp_path: Path, row: bytes, bits: int, kind: int, expected
    ) -> None:
        (tmp_path / "a.tif").write_bytes(tiff(row, 3, bits, 0, kind))
        assert seen(tmp_path / "a.tif") == expected

    def test_in_which_white_is_zero_is_none_in_parts_either(self, tmp_path, monkeypatch) -> None:
        """A large picture is brought to RGB strip by strip."""
        monkeypatch.setattr(viewing, "_STRIP", 100)
        content = bytearray(tiff(struct.pack("<60H", *[16384] * 60) * 60, 60, 16, 0))
        for tag in (257, 278):  # it is 60 pixels high
            place = content.index(struct.pack("<HHII", tag, 4, 1, 1))
            content[place + 8] = 60
        (tmp_path / "a.tif").write_bytes(content)
        pixels = np.asarray(viewed(tmp_path / "a.tif", Viewing(), partial(as_it_is, 5)).picture)
        assert pixels.shape == (12, 12, 3)
        assert (pixels == 191).all()

    def test_of_signed_numbers_is_scaled_by_the_bits_of_the_set(self, tmp_path: Path) -> None:
        (tmp_path / "a.tif").write_bytes(tiff(struct.pack("<2h", 0, 4095), 2, 16, 1, SIGNED))
        assert seen(tmp_path / "a.tif", grey_bits=12) == grey(0, 255)

    @pytest.mark.parametrize(
        ("row", "bits", "kind"),
        [
            (struct.pack("<2h", -5, 4095), 16, SIGNED),
            (struct.pack("<2I", 0, 2**32 - 1), 32, UNSIGNED),
            (struct.pack("<2I", 0, 70_000), 32, UNSIGNED),
        ],
    )
    def test_of_values_that_are_no_shades_is_refused(self, tmp_path: Path, row, bits, kind) -> None:
        """A value of 2³² − 1 comes out of Pillow as −1, and is no black."""
        (tmp_path / "a.tif").write_bytes(tiff(row, 2, bits, 1, kind))
        with pytest.raises(UnseenError, match="cannot be seen as shades"):
            seen(tmp_path / "a.tif")

    def test_in_lab_has_white_and_black_where_they_are(self, tmp_path: Path) -> None:
        for name, lightness in (("white", 255), ("black", 0)):
            bands = [Image.new("L", (4, 4), value) for value in (lightness, 128, 128)]
            Image.merge("LAB", bands).save(tmp_path / f"{name}.tif")
        np.testing.assert_allclose(seen(tmp_path / "white.tif"), 255, atol=2)
        np.testing.assert_allclose(seen(tmp_path / "black.tif"), 0, atol=2)

    def test_or_jpeg_in_ycbcr_is_brought_to_rgb(self, tmp_path: Path) -> None:
        """ITU-R 601: red is Y 76, Cb 85, Cr 255."""
        for name in ("a.tif", "a.jpg"):
            Image.new("YCbCr", (16, 16), (76, 85, 255)).save(tmp_path / name, quality=98)
            np.testing.assert_allclose(seen(tmp_path / name)[8], (254, 0, 0), atol=3)

    @pytest.mark.parametrize(
        ("ink", "expected"),
        [((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), (255,) * 3)],
    )
    def test_or_jpeg_in_cmyk_is_brought_to_rgb(self, tmp_path: Path, ink, expected) -> None:
        for name in ("a.tif", "a.jpg"):
            Image.new("CMYK", (16, 16), ink).save(tmp_path / name, quality=98)
            np.testing.assert_allclose(seen(tmp_path / name)[8], expected, atol=4)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif"])
def test_an_animation_that_begins_clear_is_the_ground_and_not_its_second_frame(
    tmp_path: Path, name: str
) -> None:
    frames = [
        Image.new("RGBA", (8, 8), (255, 0, 0, 0)),
        Image.new("RGBA", (8, 8), (0, 0, 255, 255)),
    ]
    settings = {"lossless": True} if name == "a.webp" else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **settings)
    assert seen(tmp_path / name, ground=GROUND)[4] == list(GROUND)
