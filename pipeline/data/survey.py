"""What a sample of a set's images is like: what nobody said is decided by it, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Protocol

from pipeline.data.framing import Fit
from pipeline.data.images import spread
from pipeline.data.kinds import shown
from pipeline.data.opening import UnseenError, Viewing
from pipeline.data.viewing import Glance, glance

_LOOKED_AT = 500
_CLOSELY = 100  # of them, those of a kind that must be decoded to be known
_USUAL_BITS = (8, 10, 12, 14, 16)


class Glanced(Protocol):
    """Images as files hold them; see `decoding.EncodedImages`."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def open(self, index: int) -> Path | BytesIO: ...


def _squashed(fit: Fit) -> str:
    return f"they are squashed to {fit.height}×{fit.width}"


def _cropped(fit: Fit) -> str:
    high, wide = fit.resize_to or (fit.height, fit.width)
    return (
        f"they are brought to {high}×{wide} by their tighter side, and their middle of "
        f"{fit.height}×{fit.width} is cut out"
    )


def _padded(fit: Fit) -> str:
    return f"they are fitted into {fit.height}×{fit.width} on {list(fit.pad_colour)}"


_IN_WORDS: dict[str, Callable[[Fit], str]] = {
    "squash": _squashed,
    "crop": _cropped,
    "pad": _padded,
}


@dataclass(frozen=True)
class Survey:
    """What was seen of a set.

    Attributes:
        glances: at each image of the sample that can be read; none may be.
        smallest: name of the smallest.
        viewing: how the set's images are to be seen.
    """

    glances: list[Glance]
    smallest: str
    viewing: Viewing

    @property
    def size(self) -> int | None:
        """The median of the images' shorter sides, which one odd image does not move."""
        sides = sorted(min(picture.size) for picture in self.glances)
        return sides[(len(sides) - 1) // 2] if sides else None

    def remarks(self, fit: Fit, is_asked: bool) -> Iterator[str]:
        """What was decided by looking, a line each.

        Args:
            fit: how pictures become images.
            is_asked: whether somebody said at which size.
        """
        if self.glances:
            if not is_asked:
                yield self._size_remark(fit.height)
            yield from self._shape_remarks(fit)
            yield from self._colour_remarks()

    def _size_remark(self, size: int) -> str:
        sides = [min(picture.size) for picture in self.glances]
        if {picture.size for picture in self.glances} == {(size, size)}:
            why = f"as all {len(sides)} that were looked at are"
        else:
            why = (
                f"the median of the shorter sides of the {len(sides)} that were looked at (from "
                f"{min(sides)} to {max(sides)} pixels)"
            )
        return f"images are taken at {size}×{size}, {why}; data.image_size sets another size"

    def _shape_remarks(self, fit: Fit) -> Iterator[str]:
        looked_at = len(self.glances)
        high, wide = fit.height, fit.width
        if others := sum(
            picture.size[0] * high != picture.size[1] * wide for picture in self.glances
        ):
            shape = "square" if high == wide else f"of the shape {high}×{wide}"
            yield f"{others} of {looked_at} images are not {shape}; {_IN_WORDS[fit.fit](fit)}"
        size_asked = min(high, wide)
        width, height = min((picture.size for picture in self.glances), key=min)
        if min(width, height) * 4 <= min(size_asked, self.size or size_asked):
            yield f"the smallest image is {width}×{height} ({self.smallest}); it is enlarged"

    def _colour_remarks(self) -> Iterator[str]:
        looked_at, glances = len(self.glances), self.glances
        if transparent := sum(picture.is_transparent for picture in glances):
            yield (
                f"{transparent} of {looked_at} images are transparent in places; they are laid on "
                f"the colour {list(self.viewing.ground)} (data.ground)"
            )
        deep = [picture.highest for picture in glances if picture.highest is not None]
        if deep:
            bits = self.viewing.grey_bits
            yield (
                f"{len(deep)} of {looked_at} images have grey values of more than 8 bits, up to "
                f"{max(deep):g}; {2**bits - 1 if bits else 1} becomes white (data.grey_bits)"
            )
        if coloured := sum(picture.has_other_colours for picture in glances):
            yield (
                f"{coloured} of {looked_at} images have a colour profile; their colours are "
                "brought to sRGB"
            )
        if frames := sum(picture.has_frames for picture in glances):
            yield f"{frames} of {looked_at} images have several frames; the first one is taken"


def surveyed(images: Glanced, viewing: Viewing, grey_bits: int | None) -> Survey:
    """Look at a sample of a set.

    Args:
        images: the set.
        viewing: how images are seen.
        grey_bits: what was asked for; None is decided by looking.
    """
    ids = spread(len(images), _LOOKED_AT).tolist() if len(images) else []
    closely = set(spread(len(ids), _CLOSELY).tolist()) if ids else set()

    def look(place: int) -> Glance | None:
        try:
            return glance(images.open(ids[place]), viewing, place in closely)
        except UnseenError:
            return None  # it is told of when it is decoded

    with ThreadPoolExecutor() as pool:
        looks = list(pool.map(look, range(len(ids))))
    readable = [(picture, index) for picture, index in zip(looks, ids, strict=True) if picture]
    glances = [picture for picture, _ in readable]
    if grey_bits is None:
        grey_bits = _bits_of(glances)
    smallest = min(readable, key=lambda pair: min(pair[0].size), default=None)
    name = shown(images.name(smallest[1])) if smallest else ""
    return Survey(glances, name, replace(viewing, grey_bits=grey_bits))


def _bits_of(glances: list[Glance]) -> int:
    """The usual number of bits that holds all grey values that were seen; see `Viewing`."""
    highest = max(
        (picture.highest for picture in glances if picture.highest is not None), default=None
    )
    if highest is None:
        return Viewing.grey_bits
    if highest <= 1 and any(picture.is_floating for picture in glances):
        return 0
    return next((bits for bits in _USUAL_BITS if highest < 2**bits), Viewing.grey_bits)
