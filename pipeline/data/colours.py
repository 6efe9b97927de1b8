"""Whatever a picture's pixels are, they become RGB of eight bits in sRGB, on a ground."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms, features

from pipeline.data.opening import WHITE_IS_ZERO, UnseenError, Viewing

_DEEP = ("I", "F")


def to_rgb(image: Image.Image, viewing: Viewing) -> Image.Image:
    """A picture of any mode as RGB.

    Raises:
        UnseenError: when its values or colours cannot be brought to that.
    """
    if is_deep(image):
        return _deep_to_rgb(image, viewing)
    if image.has_transparency_data:
        image = _on_ground(image, viewing.ground)
    elif image.mode == "P":
        image = image.convert("RGB")
    return _in_srgb(image)


def is_deep(image: Image.Image) -> bool:
    """Whether grey values have more than eight bits."""
    return image.mode.partition(";")[0] in _DEEP


def _deep_to_rgb(image: Image.Image, viewing: Viewing) -> Image.Image:
    """Grey of more than eight bits, on the ground where one of its values means clear."""
    values = np.asarray(image)
    grey = _to_eight_bits(values, viewing.grey_bits)
    if image.info.get(WHITE_IS_ZERO):
        grey = 255 - grey
    rgb = np.repeat(grey[..., None], 3, axis=2)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        rgb[values == clear] = viewing.ground
    return Image.fromarray(rgb)


def _to_eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Grey values of so many bits as uint8, rounded: the largest becomes 255.

    Raises:
        UnseenError: when a value does not fit.
    """
    lowest, highest = float(values.min()), float(values.max())
    top = 2**bits - 1 if bits else 1
    # Of floating point: what is rounded to black or to white is no less right.
    slack = top / 511 if values.dtype.kind == "f" else 0.0
    if not (lowest >= -slack and highest <= top + slack):
        if not (lowest >= 0 and highest < 2**16):
            raise UnseenError(
                f"its grey values go from {lowest:g} to {highest:g}, and cannot be seen as shades "
                "from black to white"
            )
        value_range = f"of {bits} bits (0 to {top})" if bits else "from 0 to 1"
        raise UnseenError(
            f"its grey values go from {lowest:g} to {highest:g}, but the set's are taken to be "
            f"{value_range}; set data.grey_bits"
        )
    return np.rint(values * (255 / top)).astype(np.uint8)


def _on_ground(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    pixels = image.convert("RGBA")
    below = Image.new("RGBA", image.size, (*ground, 255))
    below.alpha_composite(pixels)
    rgb = below.convert("RGB")
    # The palette's or the pixels' colours are meant in the picture's own colour space.
    if "icc_profile" in image.info and image.mode in ("P", "RGBA"):
        rgb.info["icc_profile"] = image.info["icc_profile"]
    return rgb


def _in_srgb(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        if not features.check("littlecms2"):
            raise UnseenError("it is in Lab colours, and Pillow was built without littleCMS")
        return _lab_to_srgb().apply(image)
    profile = image.info.get("icc_profile")
    transform = _to_srgb(profile, image.mode) if profile else None
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None where they are sRGB, or the profile is of no use."""
    space = {"RGB": "RGB", "CMYK": "CMYK"}.get(mode)
    if space is None or not features.check("littlecms2"):
        return None
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        described = ImageCms.getProfileDescription(own)
        if own.profile.xcolor_space.strip() != space or "srgb" in described.lower():
            return None
        return ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def changes_colours(image: Image.Image) -> bool:
    """Whether a picture has a colour profile that changes what is seen."""
    profile = image.info.get("icc_profile")
    mode = "RGB" if image.mode in ("P", "RGBA") else image.mode
    return bool(profile) and _to_srgb(profile, mode) is not None
