"""The lines of Python that prepare an image file for a model: for its card, and for nobody else.

They need Pillow and numpy alone, and do what our own reading does.
"""

from __future__ import annotations

from collections.abc import Iterator

from foundation.preprocessing import Preprocessing


def preparing_lines(shape: Preprocessing) -> str:
    """A function `prepare(path)` that gives what a model takes for one file, as source text."""
    return "\n".join(
        [
            *_imports(),
            "",
            "",
            "def prepare(path):",
            *(f"    {line}" for line in _body(shape)),
            "",
        ]
    )


def fitting_words(shape: Preprocessing) -> str:
    """How a picture is fitted, in words."""
    high, wide = shape.before_the_cut
    to = str(high) if high == wide else f"{high} × {wide}"
    how = f"{shape.resize}{'' if shape.antialias else ', without antialiasing'}"
    if shape.fit == "squash":
        words = f"it is squashed to {high} × {wide} ({how}), whatever its own shape"
    elif shape.fit == "crop":
        side = "its shorter side" if high == wide else "its tighter side"
        words = f"{side} is brought to {to} ({how})"
    else:
        words = f"its longer side is brought to {to} ({how}), and what lacks is {shape.pad_colour}"
    if shape.fit == "pad" or (high, wide) == (shape.height, shape.width):
        return words if shape.fit != "crop" else f"{words} and the middle is cut out"
    return f"{words} and the middle of {shape.height} × {shape.width} is cut out"


def _imports() -> Iterator[str]:
    yield "import io"
    yield ""
    yield "import numpy as np"
    yield "from PIL import Image, ImageCms, ImageOps"


def _body(shape: Preprocessing) -> Iterator[str]:
    yield "image = Image.open(path)"
    if shape.orientation == "exif":
        yield "image = ImageOps.exif_transpose(image)  # upright, as the camera was held"
    yield from _colours(shape)
    if shape.resize_embedded:
        yield "# The model fits a picture of any size and normalises it itself."
        yield f"return np.asarray(image).reshape(1, image.height, image.width, {shape.channels})"
        return
    yield from _fitting(shape)
    yield f"pixels = np.asarray(image).reshape(1, {shape.height}, {shape.width}, {shape.channels})"
    if shape.embedded:
        yield "return pixels  # the model normalises them itself"
        return
    yield f"mean = np.array({shape.mean}, np.float32)"
    yield f"std = np.array({shape.std}, np.float32)"
    yield "scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std"
    yield "return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))"


def _colours(shape: Preprocessing) -> Iterator[str]:
    """To RGB of eight bits in sRGB, and then to grey where the model takes that."""
    white = 2**shape.grey_bits - 1 if shape.grey_bits else 1
    ground = ", ".join(map(str, shape.ground))
    yield 'profile = image.info.get("icc_profile")'
    yield 'if image.mode[0] in "IF":  # grey of more than eight bits'
    yield f"    values = np.rint(np.asarray(image) * (255 / {white}))"
    yield "    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))"
    yield "elif image.has_transparency_data:"
    yield f'    ground = Image.new("RGBA", image.size, ({ground}, 255))'
    yield '    ground.alpha_composite(image.convert("RGBA"))'
    yield '    image = ground.convert("RGB")'
    yield 'elif image.mode == "P":'
    yield '    image = image.convert("RGB")'
    yield 'if profile and image.mode in ("RGB", "CMYK"):'
    yield "    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))"
    yield '    if "srgb" not in ImageCms.getProfileDescription(own).lower():'
    yield '        srgb = ImageCms.createProfile("sRGB")'
    yield '        image = ImageCms.profileToProfile(image, own, srgb, outputMode="RGB")'
    yield 'image = image.convert("RGB")'


def _fitting(shape: Preprocessing) -> Iterator[str]:
    high, wide = shape.before_the_cut
    if shape.fit == "squash":
        yield f"size = ({wide}, {high})  # width, height: whatever the image's own shape"
    elif shape.fit == "crop":
        yield "# Its shape stays; the tighter side is brought to size."
        yield f"if image.height * {wide} <= image.width * {high}:"
        yield f"    size = ({high} * image.width // image.height, {high})"
        yield "else:"
        yield f"    size = ({wide}, {wide} * image.height // image.width)"
    else:
        yield "# Its shape stays; the longer side is brought to size."
        yield f"if image.height * {wide} >= image.width * {high}:"
        yield f"    size = (max(1, round({high} * image.width / image.height)), {high})"
        yield "else:"
        yield f"    size = ({wide}, max(1, round({wide} * image.height / image.width)))"
    name = shape.resize.upper()
    if shape.antialias or shape.resize == "nearest":
        yield f"image = image.resize(size, Image.Resampling.{name})"
    else:
        yield "whole = (0, 0, image.width, image.height)"
        yield (
            f"image = image.transform(size, Image.Transform.EXTENT, whole, Image.Resampling.{name})"
        )
    to_grey = ['image = image.convert("L")'] if shape.channels == 1 else []
    is_whole = shape.fit == "squash" and (high, wide) == (shape.height, shape.width)
    if not is_whole:
        yield from _middle(shape)
    yield from to_grey


def _middle(shape: Preprocessing) -> Iterator[str]:
    """The middle cut out, or padded to."""
    high, wide = shape.before_the_cut
    covers = shape.fit != "pad" and high >= shape.height and wide >= shape.width
    if covers:
        yield f"left = round((image.width - {shape.width}) / 2)"
        yield f"top = round((image.height - {shape.height}) / 2)"
        yield f"image = image.crop((left, top, left + {shape.width}, top + {shape.height}))"
        return
    colour = tuple(shape.pad_colour)
    yield f"across, down = {shape.width} - image.width, {shape.height} - image.height"
    yield "left = across // 2 if across >= 0 else -round(-across / 2)"
    yield "top = down // 2 if down >= 0 else -round(-down / 2)"
    yield f'canvas = Image.new("RGB", ({shape.width}, {shape.height}), {colour})'
    yield "canvas.paste(image, (left, top))"
    yield "image = canvas"
