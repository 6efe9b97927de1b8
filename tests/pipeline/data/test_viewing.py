"""Pictures as a viewer shows them; each is made here, and what must be seen is worked out."""

from __future__ import annotations

import io
import os
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from pipeline.data import viewing
from pipeline.data.framing import Window
from pipeline.data.opening import UnseenError, Viewing, set_up_pillow
from pipeline.data.viewing import glance, viewed

CORNERS = np.full((64, 96, 3), 40, np.uint8)
CORNERS[:32, :48] = (250, 20, 20)  # red above at the left
CORNERS[32:, 48:] = (20, 20, 250)  # blue below at the right

# What an orientation undoes: the stored picture is made of the upright one by this.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def whole(height: int, width: int) -> Window:
    return Window((height, width))


def seen(path: Path, **settings) -> np.ndarray:
    return np.asarray(viewed(path, Viewing(**settings), whole).picture)


def same_corners(pixels: np.ndarray) -> bool:
    """Whether a picture is the one of the four corners; a lossy one is soft between them."""
    there, expected = (image[16::32, 24::48].astype(int) for image in (pixels, CORNERS))
    return there.shape == expected.shape and np.abs(there - expected).max() <= 12


class TestAPictureThatACameraTurned:
    @pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
    @pytest.mark.parametrize("orientation", STORED)
    def test_is_seen_upright(self, tmp_path: Path, name: str, orientation: int) -> None:
        upright, turn = Image.fromarray(CORNERS), STORED[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if turn is None else upright.transpose(turn)
        stored.save(tmp_path / name, exif=exif)
        assert same_corners(seen(tmp_path / name))

    def test_and_has_a_broken_note_of_it_is_seen_as_it_lies(self, tmp_path: Path) -> None:
        for number, exif in enumerate((b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"nothing")):
            path = tmp_path / f"{number}.jpg"
            Image.fromarray(CORNERS).save(path, exif=exif)
            assert same_corners(seen(path))

    @pytest.mark.parametrize("orientation", [0, 9, 300])
    def test_by_no_known_turn_is_seen_as_it_lies(self, tmp_path: Path, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(CORNERS).save(tmp_path / "a.png", exif=exif)
        assert same_corners(seen(tmp_path / "a.png"))


class TestGreyOfMoreThanEightBits:
    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    @pytest.mark.parametrize("bits", [10, 12, 14, 16])
    def test_is_scaled_from_black_to_white(self, tmp_path: Path, name: str, bits: int) -> None:
        top = 2**bits - 1
        values = np.array([[0, top // 4], [top // 2, top]], np.uint16)
        Image.fromarray(values).save(tmp_path / name)
        grey = seen(tmp_path / name, grey_bits=bits)
        np.testing.assert_allclose(grey[..., 0], [[0, 64], [127, 255]], atol=1)
        assert (grey == grey[..., :1]).all()

    def test_is_read_in_either_order_of_bytes(self, tmp_path: Path) -> None:
        values = np.array([[0, 65535], [32768, 256]], np.uint16)
        header = struct.pack(">2sHIH", b"MM", 42, 8, 8)
        entries = [(256, 2), (257, 2), (258, 16), (259, 1), (262, 1), (277, 1), (278, 2)]
        tags = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in entries[:4])
        tags += b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in entries[4:5])
        strip = struct.pack(">HHII", 273, 4, 1, 8 + 2 + 8 * 12 + 4)
        rest = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in entries[5:])
        content = header + tags + strip + rest + bytes(4) + values.astype(">u2").tobytes()
        (tmp_path / "a.tif").write_bytes(content)
        np.testing.assert_array_equal(seen(tmp_path / "a.tif")[..., 0], [[0, 255], [128, 1]])

    def test_that_a_pgm_file_states_is_scaled_by_its_own_maximum(self, tmp_path: Path) -> None:
        values = np.array([0, 2048, 4095, 1024], ">u2").tobytes()
        (tmp_path / "a.pgm").write_bytes(b"P5 2 2 4095\n" + values)
        np.testing.assert_allclose(seen(tmp_path / "a.pgm")[..., 0], [[0, 128], [255, 64]], atol=1)

    def test_in_floating_point_goes_from_0_to_1(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[-0.0001, 0.25], [0.5, 1.0001]], np.float32)).save(
            tmp_path / "a.tif"
        )
        np.testing.assert_allclose(
            seen(tmp_path / "a.tif", grey_bits=0)[..., 0], [[0, 64], [128, 255]], atol=1
        )

    @pytest.mark.parametrize(
        ("values", "bits", "words"),
        [
            (np.array([[0, 5000]], np.uint16), 12, r"0 to 5000.*12 bits.*data\.grey_bits"),
            (np.array([[-3.0, 1.0]], np.float32), 0, "-3 to 1, and cannot be seen"),
            (np.array([[0, 1e6]], np.float32), 16, "cannot be seen"),
            (np.array([[0, np.nan]], np.float32), 0, "nan"),
            (np.array([[0, 1.1]], np.float32), 0, r"from 0 to 1.1, .*from 0 to 1; set"),
        ],
    )
    def test_that_does_not_fit_is_refused_and_not_cut_off(
        self, tmp_path: Path, values: np.ndarray, bits: int, words: str
    ) -> None:
        Image.fromarray(values).save(tmp_path / "a.tif")
        with pytest.raises(UnseenError, match=words):
            seen(tmp_path / "a.tif", grey_bits=bits)


class TestATransparentPicture:
    """Half of it is clear, and what hides there is black; the other half is red."""

    def rgba(self) -> Image.Image:
        pixels = np.zeros((4, 4, 4), np.uint8)
        pixels[:, 2:] = (255, 0, 0, 255)
        return Image.fromarray(pixels)

    def pictures(self) -> dict[str, tuple[Image.Image, dict]]:
        palette = Image.fromarray(np.repeat([[0, 0, 1, 1]], 4, 0).astype(np.uint8), mode="P")
        palette.putpalette([0, 0, 0, 255, 0, 0])
        grey = np.zeros((4, 4, 2), np.uint8)
        grey[:, 2:] = (76, 255)
        true = Image.fromarray(np.asarray(self.rgba())[..., :3].copy())
        return {
            "rgba.png": (self.rgba(), {}),
            "rgba.webp": (self.rgba(), {"lossless": True, "exact": True}),
            "rgba.tif": (self.rgba(), {}),
            "one-colour.gif": (palette, {"transparency": 0}),
            "one-colour.png": (palette, {"transparency": 0}),
            "by-bytes.png": (palette, {"transparency": b"\0\xff"}),
            "grey.png": (Image.fromarray(grey), {}),
            "key.png": (true, {"transparency": (0, 0, 0)}),
        }

    @pytest.mark.parametrize(
        "name",
        ["rgba.png", "rgba.webp", "rgba.tif", "one-colour.gif", "one-colour.png", "by-bytes.png",
         "grey.png", "key.png"],
    )  # fmt: skip
    @pytest.mark.parametrize("ground", [(255, 255, 255), (10, 200, 30)])
    def test_shows_the_ground(self, tmp_path: Path, name: str, ground) -> None:
        image, settings = self.pictures()[name]
        image.save(tmp_path / name, **settings)
        pixels = seen(tmp_path / name, ground=ground)
        np.testing.assert_array_equal(pixels[:, :2], np.broadcast_to(ground, (4, 2, 3)))
        assert (pixels[:, 2:] == (76 if name == "grey.png" else (255, 0, 0))).all()

    def test_is_told_from_one_that_only_could_be(self, tmp_path: Path) -> None:
        self.rgba().save(tmp_path / "a.png")
        self.rgba().convert("RGB").convert("RGBA").save(tmp_path / "b.png")
        assert glance(tmp_path / "a.png", Viewing(), closely=True).is_transparent
        assert not glance(tmp_path / "b.png", Viewing(), closely=True).is_transparent

    def test_half_clear_is_mixed(self, tmp_path: Path) -> None:
        Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(tmp_path / "a.png")
        np.testing.assert_allclose(seen(tmp_path / "a.png"), 127, atol=1)


class TestColours:
    def test_of_cmyk_are_the_right_way_round(self, tmp_path: Path) -> None:
        cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
        cyan.save(tmp_path / "adobe.jpg", quality=98)  # Pillow marks it as Adobe's, inverted
        cyan.save(tmp_path / "plain.tif")
        for name in ("adobe.jpg", "plain.tif"):
            np.testing.assert_allclose(seen(tmp_path / name)[8, 8], (0, 255, 255), atol=4)

    def test_of_lab_are_srgb(self, tmp_path: Path) -> None:
        lab = Image.merge("LAB", [Image.new("L", (4, 4), v) for v in (136, 208, 195)])
        lab.save(tmp_path / "a.tif")  # L 53.3, a 80, b 67: pure red
        np.testing.assert_allclose(seen(tmp_path / "a.tif")[0, 0], (254, 0, 0), atol=12)

    def test_of_one_bit_are_black_and_white(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
        for name in ("a.png", "a.pbm", "a.tif", "a.bmp"):
            image.save(tmp_path / name)
            np.testing.assert_array_equal(seen(tmp_path / name)[0, :, 0], [0, 255])

    def test_with_another_profile_are_brought_to_srgb(self, tmp_path: Path) -> None:
        """Red and green change places in the profile, so that it cannot be passed over unseen."""
        path = tmp_path / "a.png"
        Image.new("RGB", (4, 4), (200, 30, 60)).save(path, icc_profile=swapped_profile())
        assert glance(path, Viewing(), closely=False).has_other_colours
        np.testing.assert_allclose(seen(path)[0, 0], (30, 200, 60), atol=12)

    def test_with_the_usual_profile_are_left_as_they_are(self, tmp_path: Path) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Image.new("RGB", (4, 4), (200, 30, 60)).save(tmp_path / "a.png", icc_profile=profile)
        assert not glance(tmp_path / "a.png", Viewing(), closely=False).has_other_colours
        np.testing.assert_array_equal(seen(tmp_path / "a.png")[0, 0], (200, 30, 60))

    @pytest.mark.parametrize("profile", [b"", b"no profile", bytes(300)])
    def test_with_a_broken_profile_are_left_as_they_are(self, tmp_path: Path, profile) -> None:
        Image.new("RGB", (4, 4), (200, 30, 60)).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(seen(tmp_path / "a.png")[0, 0], (200, 30, 60))


def swapped_profile() -> bytes:
    """sRGB's profile, the primaries of red and green exchanged."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = content.index(b"rXYZ"), content.index(b"gXYZ")
    content[red : red + 4], content[green : green + 4] = b"gXYZ", b"rXYZ"
    # Its description says sRGB, by which it would be known.
    return bytes(content).replace("sRGB".encode("utf-16-be"), "sXGB".encode("utf-16-be"))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif", "a.mpo"])
def test_of_several_frames_the_first_is_seen(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(seen(tmp_path / name)[0, 0], (255, 0, 0), atol=3)
    # The second picture of an MPO is a camera's depth or preview.
    several = glance(tmp_path / name, Viewing(), closely=False).has_frames
    assert several == (name != "a.mpo")


def reducing(height: int, width: int) -> Window:
    return Window((10, 10), reduction=12)


class TestALargePicture:
    @pytest.fixture
    def large(self, monkeypatch: pytest.MonkeyPatch) -> Image.Image:
        """A slope from black to white, and strips made small."""
        monkeypatch.setattr(viewing, "_STRIP", 10_000)
        slope = np.linspace(0, 255, 600).astype(np.uint8)
        return Image.fromarray(np.broadcast_to(slope, (450, 600)).copy())

    @pytest.mark.parametrize("mode", ["L", "RGB", "P", "1", "CMYK", "RGBA", "I;16"])
    def test_is_seen_as_a_small_one_is(self, tmp_path: Path, large, mode: str) -> None:
        path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
        image = large if mode != "I;16" else Image.fromarray(np.asarray(large).astype("<u2") * 257)
        (image if mode == "I;16" else image.convert(mode)).save(path)
        size = (10, 10)
        reduced = viewed(path, Viewing(), reducing).picture
        assert (reduced.height, reduced.width) == (38, 50)
        whole = large.resize(size, Image.Resampling.BILINEAR)
        result = np.asarray(reduced.resize(size, Image.Resampling.BILINEAR))[..., 0].astype(int)
        assert np.abs(result - np.asarray(whole)).max() <= (30 if mode == "1" else 3)

    @pytest.mark.parametrize("progressive", [False, True])
    def test_jpeg_is_decoded_smaller(self, tmp_path: Path, large, progressive: bool) -> None:
        large.save(tmp_path / "a.jpg", quality=95, progressive=progressive)
        view = viewed(tmp_path / "a.jpg", Viewing(), reducing)
        reduced = view.picture
        assert (view.height, view.width) == (450, 600)
        assert 50 <= reduced.width <= 75
        whole = np.asarray(large.resize((10, 10), Image.Resampling.BILINEAR)).astype(int)
        small = np.asarray(reduced.resize((10, 10), Image.Resampling.BILINEAR))[..., 0]
        assert np.abs(small - whole).max() <= 3

    def test_over_the_limit_is_told_with_its_size_and_the_key(self, tmp_path: Path) -> None:
        Image.new("1", (20_000, 11_000)).save(tmp_path / "a.png")
        with pytest.raises(UnseenError, match=r"20000 × 11000 are 220\.0 megapixels.*100 of data"):
            seen(tmp_path / "a.png")

    def test_of_a_size_that_cannot_be_is_refused(self, tmp_path: Path) -> None:
        Image.new("L", (8, 8)).save(tmp_path / "a.bmp")
        content = bytearray((tmp_path / "a.bmp").read_bytes())
        content[18:26] = (2**30).to_bytes(4, "little") * 2
        (tmp_path / "a.bmp").write_bytes(content)
        with pytest.raises(UnseenError, match="it has more than 1000 megapixels"):
            seen(tmp_path / "a.bmp")

    def test_that_is_nearly_all_holes_is_not_read_to_its_end(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png_with(b"zTXt", b"a")[:41])
        os.truncate(tmp_path / "a.png", 2**40)
        with pytest.raises(UnseenError, match=r"1099\.5 GB are too many for a picture"):
            seen(tmp_path / "a.png")

    def test_waits_until_there_is_room(self) -> None:
        """The pixels of those that are decoded at once stay below the bound."""
        under_way = viewing._PixelsUnderWay(10_000_000)
        lock, now, most = threading.Lock(), 0, 0

        def decode() -> None:
            nonlocal now, most
            with under_way.room_for(4_000_000):
                with lock:
                    now += 1
                    most = max(most, now)
                threading.Event().wait(0.002)
                with lock:
                    now -= 1

        threads = [threading.Thread(target=decode) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 2
        with under_way.room_for(99_000_000):  # alone, even the largest may
            pass


def png_with(kind: bytes, content: bytes) -> bytes:
    """A red PNG picture with one more chunk behind its head."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(file, "PNG")
    png = file.getvalue()
    chunk = struct.pack(">I", len(content)) + kind + content
    return png[:33] + chunk + struct.pack(">I", zlib.crc32(kind + content)) + png[33:]


class TestWhatStandsBesideAPicture:
    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            (b"zTXt", b"parameters\0\0" + zlib.compress(b"x" * 3_000_000)),
            (b"tEXt", b"parameters\0" + b"x" * 3_000_000),
            (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(b"x" * 80_000_000)),
            (b"iCCP", b"profile\0\0" + zlib.compress(bytes(70_000_000))),
            (b"iCCP", b"profile\0\0no zlib"),
            (b"eXIf", b"no exif"),
        ],
    )
    def test_does_not_hide_it_however_long_or_broken(self, tmp_path, kind, content) -> None:
        (tmp_path / "a.png").write_bytes(png_with(kind, content))
        tracemalloc.start()
        try:
            np.testing.assert_array_equal(seen(tmp_path / "a.png")[0, 0], (255, 0, 0))
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


class TestAFileThatIsNoPicture:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "it is empty"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is a PostScript file"),
            (b"\xc5\xd0\xd3\xc6" + bytes(40), "it is a PostScript file"),
            (b"%PDF-1.7\n", "it is a PDF document"),
            (b"\xd7\xcd\xc6\x9a" + bytes(40), "it is a Windows metafile"),
            (b"8BPS\0\1" + bytes(40), "it is a Photoshop file"),
            (b"SIMPLE  =                    T" + bytes(60), "it is a FITS file"),
            (b"\0\0\1\0\1\0" + bytes(40), "it is an icon"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is an SVG drawing"),
            (b"\n <!DOCTYPE html><html>404", "it is a web page"),
            (b"PK\x03\x04" + bytes(40), "it is a zip archive"),
            (b"\0\0\0\x18ftypheic" + bytes(40), "it is a HEIC picture"),
            (b"\0\5\x16\7\0\2" + bytes(40), "it is a resource fork of macOS"),
            (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
            (b"just words", "no kind of picture that is read"),
            (b"\xff\xd8\xff\xe0" + bytes(9), "a JPEG picture that is cut short or damaged"),
        ],
    )
    def test_is_told_of_by_what_it_is(self, tmp_path: Path, content: bytes, words: str) -> None:
        (tmp_path / "photo.jpg").write_bytes(content)
        with pytest.raises(UnseenError, match=words):
            seen(tmp_path / "photo.jpg")

    @pytest.mark.parametrize("name", ["a.eps", "a.pdf", "a.ico", "a.tga", "a.pcx", "a.sgi"])
    def test_but_of_a_kind_that_pillow_knows_is_not_tried(self, tmp_path: Path, name: str) -> None:
        """Of these, Pillow gives an EPS to another program."""
        Image.new("RGB", (16, 16), (9, 9, 9)).save(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "photo.jpg")
        with pytest.raises(UnseenError):
            seen(tmp_path / "photo.jpg")

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    @pytest.mark.parametrize("kind", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm", "jp2"])
    def test_cut_short_is_refused_and_never_half_grey(self, tmp_path, kind: str, share) -> None:
        path = tmp_path / f"a.{kind}"
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(UnseenError, match="cut short or damaged"):
            seen(path)

    def test_says_nothing_in_a_librarys_words(self, tmp_path: Path, capfd, recwarn) -> None:
        set_up_pillow()  # as on import; the test runner undoes it
        palette = Image.new("P", (8, 8))
        palette.save(tmp_path / "a.png", transparency=bytes(range(100)))
        seen(tmp_path / "a.png")
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        for compression in ("tiff_lzw", "tiff_adobe_deflate"):
            Image.fromarray(noise).save(tmp_path / "b.tif", compression=compression)
            content = bytearray((tmp_path / "b.tif").read_bytes())
            content[500:600] = bytes(range(100, 200))
            (tmp_path / "b.tif").write_bytes(content)
            with pytest.raises(UnseenError):  # of which libtiff writes to standard error
                seen(tmp_path / "b.tif")
        broken = b"Exif\0\0II*\0\xff\xff\xff\xff"
        Image.new("RGB", (8, 8)).save(tmp_path / "c.jpg", exif=broken)
        seen(tmp_path / "c.jpg")
        assert (*recwarn, *capfd.readouterr()) == ("", "")


def test_a_long_text_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * 2_000_000, zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(UnseenError, match="a PNG picture that is cut short"):
        seen(tmp_path / "a.png")
