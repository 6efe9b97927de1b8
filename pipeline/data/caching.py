"""Giving a dataset's training pictures a cache on disk, in a folder for them alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import PIL
from PIL import features

from foundation.errors import MissingFileError, RecipeError
from foundation.files import user_path, write_json
from pipeline.data import Dataset
from pipeline.data.cache import PictureCache
from pipeline.data.channels import Recoloured
from pipeline.data.decoding import DecodedImages
from pipeline.data.images import ArrayImages, Framed, ImageSet, Subset
from pipeline.recipe.sections.data import DataRecipe

ABOUT = "about.json"
_SIDES = 2  # a picture is kept with so many times the pixels of an image along its shorter side


def cache_pictures(
    dataset: Dataset, recipe: DataRecipe, fingerprint: str | None, sides: tuple[int, int]
) -> str | None:
    """Have a dataset's training pictures kept on disk, where the recipe asks for it.

    Args:
        dataset: the dataset; its training pictures are decoded through the cache from now on.
        recipe: says where, and how large they are kept.
        fingerprint: of the dataset's files.
        sides: height and width of the images that are taken of them.

    Returns:
        What somebody may not expect of it, in a line.

    Raises:
        RecipeError: when nobody can tell whether the dataset's files have changed.
        MissingFileError: when the folder cannot be written.
    """
    learned_from = dataset.test if recipe.unlabelled else dataset.train
    if recipe.cache is None or learned_from is None:
        return None
    if recipe.augment.crop_min_area is None:
        return (
            "data.cache is not used: it is for random crops (data.augment.crop_min_area or "
            "preset), and there are none"
        )
    pictures = _decoded(learned_from)
    if pictures is None:
        return "data.cache is not needed: all pictures are in memory"
    if fingerprint is None:
        raise RecipeError(
            f"data.cache: {recipe.name} does not say which files it reads, so nobody could tell "
            "when what is kept is out of date; leave data.cache out"
        )
    side = recipe.cache_side or _SIDES * min(sides)
    about = {
        "files": fingerprint,
        "pictures": len(pictures.encoded),
        "side": side,
        "viewing": asdict(pictures.viewing),
        "decoder": [PIL.__version__, features.version("jpg") or ""],
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = user_path(recipe.cache) / key
    try:
        pictures.cache = PictureCache(folder, len(pictures.encoded), side)
        write_json(folder / ABOUT, about)
    except OSError as error:
        raise MissingFileError(
            f"{folder}: pictures cannot be kept there ({error.strerror}); choose another folder "
            "with data.cache, or leave it out"
        ) from error
    return None


def _decoded(images: ImageSet) -> DecodedImages | None:
    """The pictures that a set takes its images of, if they are decoded each time."""
    while not isinstance(images, DecodedImages):
        if isinstance(images, ArrayImages):
            if images.source is None:
                return None
            images = images.source
        elif isinstance(images, Subset | Framed | Recoloured):
            images = images.images
        else:
            return None
    return images
