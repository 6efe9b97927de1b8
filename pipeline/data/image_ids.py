"""By which id a picture is known: its path within the folder that its dataset lies in."""

from __future__ import annotations

from filecmp import cmp
from pathlib import Path

from pipeline.data.channels import Recoloured
from pipeline.data.decoding import DecodedImages
from pipeline.data.facts import public_place
from pipeline.data.images import ArrayImages, Framed, ImageSet, Relabelled, Remembered, Subset

_GLANCED_BYTES = 256


def ids_of(images: ImageSet, dataset: str) -> list[str] | None:
    """The ids of a set's pictures, with "/" between folders; None where nobody named them.

    Args:
        images: the set, or a part of it.
        dataset: as the recipe names it.
    """
    names = [_name(images, number) for number in range(len(images.labels))]
    found = [name for name in names if name is not None]
    if len(found) < len(names):
        return None
    return [Path(public_place(name, dataset)).as_posix() for name in found]


def places_of(images: ImageSet | None) -> set[str]:
    """Where the pictures of a set lie, links followed; nothing of those that nobody named."""
    folders, places = dict[Path, Path](), set[str]()
    for number in range(0 if images is None else len(images.labels)):
        name = None if images is None else _name(images, number)
        if name is not None:
            path = Path(name)
            if path.parent not in folders:
                folders[path.parent] = path.parent.resolve()
            place = folders[path.parent] / path.name
            places.add(str(place.resolve() if place.is_symlink() else place))
    return places


def same_pictures(one: set[str], other: set[str]) -> list[str]:
    """Files among the second that are among the first too, by their place or by what is in them.

    Args:
        one, other: as `places_of` gives them.
    """
    alike: dict[tuple[int, bytes], list[Path]] = {}
    for path in _files(one):
        alike.setdefault(_glance(path), []).append(path)
    copied = {
        str(path)
        for path in _files(other)
        if any(cmp(path, its_like, shallow=False) for its_like in alike.get(_glance(path), []))
    }
    return sorted(one & other | copied)


def _glance(path: Path) -> tuple[int, bytes]:
    """A file's size and a little of its middle: to read all of every file would take an epoch."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(size // 2)
        return size, file.read(_GLANCED_BYTES)


def _files(places: set[str]) -> list[Path]:
    """Those that are files; pictures in archives are none."""
    return [path for path in map(Path, sorted(places)) if path.is_file()]


def _name(images: ImageSet, number: int) -> str | None:
    """What a message calls a picture."""
    while True:
        if isinstance(images, Subset):
            number = int(images.ids[number])
        if isinstance(images, DecodedImages):
            return images.encoded.name(number)
        if isinstance(images, ArrayImages):
            return None if images.name is None else images.name(number)
        if not isinstance(images, Subset | Framed | Recoloured | Relabelled | Remembered):
            return None
        images = images.images
