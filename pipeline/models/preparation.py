"""How a network's images were prepared when its weights were trained, as its publisher tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from foundation.documents import parse_json, parse_toml
from foundation.errors import CorruptFileError, MissingFileError, nearest
from foundation.files import read_bounded, user_path
from foundation.preprocessing import Preprocessing
from foundation.records import build
from foundation.registry import Registry

Sides = tuple[int, int]


@dataclass(frozen=True)
class Preparation:
    """What is known of the preparation of images; None where it is not known.

    Attributes:
        size: height and width that the network takes.
        channels: 1 for grey, 3 for red, green and blue.
        crop_pct: side of the middle that is cut out as a share of `resize_to`, where that is not
            known as a size.
        fit, resize_to, resize, antialias, pad_colour, mean, std, source: as
            `foundation.preprocessing.Preprocessing` has them.
    """

    size: Sides | None = None
    channels: int | None = None
    fit: str | None = None
    resize_to: Sides | None = None
    resize: str | None = None
    antialias: bool | None = None
    pad_colour: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    source: str | None = None
    crop_pct: float | None = None

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Preparation:
        """What a finished preprocessing tells of another one."""
        sides = preprocessing.resize_to
        red, green, blue = preprocessing.pad_colour
        return cls(
            size=(preprocessing.height, preprocessing.width),
            channels=preprocessing.channels,
            fit=preprocessing.fit,
            resize_to=None if sides is None else (sides[0], sides[1]),
            resize=preprocessing.resize,
            antialias=preprocessing.antialias,
            pad_colour=(red, green, blue),
            mean=tuple(preprocessing.mean),
            std=tuple(preprocessing.std),
            source=preprocessing.source or None,
        )

    def over(self, other: Preparation) -> Preparation:
        """The same, with what is not known taken from another.

        How a picture is brought to a size before its middle is cut out is known with the size: at
        another size it is the same share.
        """
        merged = {
            part.name: getattr(other, part.name)
            for part in fields(self)
            if getattr(self, part.name) is None
        }
        if self.fit not in (None, other.fit) or self.resize_to or self.crop_pct:
            merged |= {"resize_to": self.resize_to, "crop_pct": self.crop_pct}
        elif other.resize_to and other.size and self.size:
            merged["resize_to"] = _scaled(other.resize_to, other.size, self.size)
        return replace(self, **merged)

    def in_words(self) -> str:
        """What is known of it, in a line."""
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        if self.size is not None:
            yield "size " + _sides(self.size)
        if self.fit is not None:
            to = "" if self.resize_to in (None, self.size) else f" from {_sides(self.resize_to)}"
            yield f"{self.fit}{to}"
        if self.resize is not None:
            yield self.resize + (" without antialiasing" if self.antialias is False else "")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                yield f"{name} {', '.join(f'{value:.4g}' for value in values)}"


def _scaled(sides: Sides, before: Sides, now: Sides) -> Sides:
    return round(now[0] * sides[0] / before[0]), round(now[1] * sides[1] / before[1])


def _sides(sides: Sides | None) -> str:
    high, wide = sides or (0, 0)
    return str(high) if high == wide else f"{high}×{wide}"


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

GRAPH_SUFFIX = ".onnx"

KNOWN: Mapping[str, Preparation] = {
    "imagenet": Preparation(
        (224, 224), 3, "crop", (256, 256), "bilinear", True, None, _IMAGENET_MEAN, _IMAGENET_STD,
        "the usual way of ImageNet",
    ),
    "inception": Preparation(
        (299, 299), 3, "crop", (341, 341), "bicubic", True, None, (0.5,) * 3, (0.5,) * 3,
        "the usual way of the Inception networks",
    ),
}  # fmt: skip
"""Preparations that are known by a name."""

SOURCES: Registry[Callable[[str, str], Preparation]] = Registry(
    "source of a preparation", "pipeline.models.libraries"
)
"""By what stands before the colon: (what stands behind it, the model) -> the preparation."""


def preparation_from(source: str, model: str, where: str) -> Preparation:
    """The preparation that a source names.

    Args:
        source: "torchvision:…", "timm:…", "imagenet", "inception", or a file.
        model: the network that it is for, as the recipe names it.
        where: the place of the source, for messages.

    Raises:
        UnknownNameError: when a library has no such weights.
        MissingFileError: when it names neither anything known nor a file.
        CorruptFileError: when a file says nothing of a preparation.
    """
    if source in KNOWN:
        return KNOWN[source]
    library, colon, name = source.partition(":")
    if colon and library in SOURCES.names():
        return SOURCES.get(library)(name, model)
    path = user_path(source)
    if not path.is_file():
        close = nearest(source, KNOWN) or nearest(library, SOURCES.names())
        hint = f", did you mean {close!r}?" if close else ""
        raise MissingFileError(
            f"{where}: {source!r} is no file and no known preparation{hint}; write one of "
            f"{', '.join(KNOWN)}, torchvision:WEIGHTS, timm:MODEL, or a file"
        )
    return _from_file(path)


_LARGEST = 1 << 26


def _from_file(path: Path) -> Preparation:
    """What a JSON or TOML file says of a preparation, in it or in its table "preprocessing"."""
    try:
        return _from_values(_table_in(path), path)
    except ValueError as error:
        raise CorruptFileError(
            f"{path}: says nothing of how images are prepared ({error}); it needs height, width, "
            "mean and std, and may have fit, resize_to, resize, antialias and pad_colour, as "
            "a bundle.json has them"
        ) from error


def _table_in(path: Path) -> Mapping[str, Any]:
    if path.suffix.lower() == GRAPH_SUFFIX:
        values = parse_json(_noted(path) or "{}")
    else:
        parse = parse_toml if path.suffix.lower() == ".toml" else parse_json
        values = parse(read_bounded(path, _LARGEST))
    table = values.get("preprocessing", values) if isinstance(values, dict) else None
    if not isinstance(table, dict):
        raise ValueError("it is no table of keys")
    return table


def _noted(path: Path) -> str | None:
    from export.graphs.recorded_classes import recorded_preprocessing  # noqa: PLC0415 - onnx

    return recorded_preprocessing(path)


def preparation_of_graph(path: Path) -> Preparation | None:
    """The preparation that an ONNX file notes, as ours do; None where it notes none, or something
    of its own."""
    try:
        return None if _noted(path) is None else _from_file(path)
    except CorruptFileError:
        return None


def _from_values(values: Mapping[str, Any], path: Path) -> Preparation:
    mean = values.get("mean")
    channels = len(mean) if isinstance(mean, list) else 0
    whole = {"channels": channels, **values, "source": path.name}
    record = build(Preprocessing, whole)
    if record.resize_embedded:
        # What it is given must need no resampling: the picture as it is before the cut.
        high, wide = record.before_the_cut
        record = replace(record, height=high, width=wide, resize_to=None)
    return Preparation.of(record)
