"""By which id a picture is known: its path within the folder that its dataset lies in."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.channels import Recoloured
from pipeline.data.decoding import DecodedImages
from pipeline.data.facts import public_place
from pipeline.data.images import ArrayImages, Framed, ImageSet, Relabelled, Remembered, Subset


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
    """Where the pictures of a set lie, links to folders followed; nothing of those that nobody
    named."""
    folders, places = dict[Path, Path](), set[str]()
    for number in range(0 if images is None else len(images.labels)):
        name = None if images is None else _name(images, number)
        if name is not None:
            path = Path(name)
            if path.parent not in folders:
                folders[path.parent] = path.parent.resolve()
            places.add(str(folders[path.parent] / path.name))
    return places


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
