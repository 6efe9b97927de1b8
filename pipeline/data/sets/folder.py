"""folder:PATH: any images in class folders, PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from foundation.errors import DataLayoutError, MissingFileError, UnreadableImageError, UsageError
from pipeline.data import DATASETS, Dataset
from pipeline.data.images import ArrayImages, Ids, Images, ImageSet, Labels
from pipeline.recipe import DataRecipe

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_IN_MEMORY_BYTES = 2**31


@DATASETS.register("folder")
def folder(argument: str, recipe: DataRecipe) -> Dataset:
    """folder:PATH reads PATH/train/CLASS/* and PATH/test/CLASS/*; class names are folder names."""
    if not argument:
        raise UsageError("dataset folder needs a path: folder:PATH")
    root = Path(argument).expanduser()
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder of images")
    classes = _classes(root / "train")
    if _classes(root / "test") != classes:
        raise DataLayoutError(
            f"{root}: train/ and test/ have different class folders; both must hold the same"
        )
    size = recipe.image_size or _size_of_first(root / "train" / classes[0])
    train, bad_train = _load_split(root / "train", classes, size, recipe)
    test, bad_test = _load_split(root / "test", classes, size, recipe)
    return Dataset(train, test, classes, tuple(map(str, [*bad_train, *bad_test])))


class FileImages:
    """Images that are decoded each time they are read, for sets that do not fit in memory."""

    def __init__(self, paths: Sequence[Path], labels: Labels, size: int) -> None:
        self.paths, self.labels, self.size = list(paths), labels, size

    def read(self, ids: Ids) -> Images:
        return _decode_all([self.paths[i] for i in ids], self.size)


def decode(path: Path, size: int) -> Images:
    """One image file as uint8 (size, size, 3).

    Raises:
        UnreadableImageError: when it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    except Exception as error:  # a decoder fails in ways of its own
        raise UnreadableImageError(
            f"{path}: not a readable image ({type(error).__name__}); delete it, or set "
            'on_bad_image = "skip" in [data]'
        ) from error
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _classes(split: Path) -> list[str]:
    if not split.is_dir():
        raise DataLayoutError(f"{split}: no such folder; a dataset has train/ and test/")
    classes = sorted(path.name for path in split.iterdir() if path.is_dir())
    if len(classes) < 2:
        raise DataLayoutError(f"{split}: {len(classes)} class folders found, at least 2 are needed")
    for name in classes:
        if not _image_files(split / name):
            raise DataLayoutError(
                f"{split / name}: no images in this class folder; add some or remove it"
            )
    return classes


def _image_files(class_folder: Path) -> list[Path]:
    with os.scandir(class_folder) as entries:
        names = sorted(e.name for e in entries if Path(e.name).suffix.lower() in _SUFFIXES)
    return [class_folder / name for name in names]


def _size_of_first(class_folder: Path) -> int:
    for path in _image_files(class_folder):
        with contextlib.suppress(Exception), Image.open(path) as image:
            return min(image.size)
    raise UnreadableImageError(f"{class_folder}: not one readable image in this class folder")


def _load_split(
    split: Path, classes: Sequence[str], size: int, recipe: DataRecipe
) -> tuple[ImageSet, list[Path]]:
    """A split, decoded into memory where it fits, and the files that were passed over."""
    paths = [path for name in classes for path in _image_files(split / name)]
    if recipe.on_bad_image == "skip":
        bad = _unreadable(paths, size)
        paths = [path for path in paths if path not in bad]
        readable = {path.parent.name for path in paths}
        for name in classes:
            if name not in readable:
                raise DataLayoutError(
                    f"{split / name}: not one readable image in this class folder"
                )
    else:
        bad = {}
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[path.parent.name] for path in paths], np.int64)
    if len(paths) * size * size * 3 > _IN_MEMORY_BYTES:
        return FileImages(paths, labels, size), list(bad)
    return ArrayImages(_decode_all(paths, size), labels), list(bad)


def _decode_all(paths: Sequence[Path], size: int) -> Images:
    pixels = np.empty((len(paths), size, size, 3), np.uint8)

    def put(index: int) -> None:
        pixels[index] = decode(paths[index], size)

    with ThreadPoolExecutor() as pool:
        list(pool.map(put, range(len(paths)), chunksize=64))
    return pixels


def _unreadable(paths: Sequence[Path], size: int) -> dict[Path, None]:
    def fails(path: Path) -> bool:
        try:
            decode(path, size)
        except UnreadableImageError:
            return True
        return False

    with ThreadPoolExecutor() as pool:
        failed = list(pool.map(fails, paths, chunksize=64))
    return {path: None for path, bad in zip(paths, failed, strict=True) if bad}
