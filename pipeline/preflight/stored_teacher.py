"""Can what a teacher said of images as they are teach what a recipe asks of it?"""

from __future__ import annotations

from foundation.errors import RecipeError
from pipeline.models.teachers import asked_teacher
from pipeline.recipe.file import RecipeFile


def check_stored(file: RecipeFile) -> None:
    """Make sure that every image is one of which something is stored.

    Raises:
        RecipeError: when it is not; with its place.
    """
    recipe = file.recipe
    for number, member in enumerate(recipe.teachers):
        if _is_stored(member.model):
            raise RecipeError(
                f"{file.where('teachers', number, 'model')}: {member.model} holds stored logits, "
                "which are looked up by an image's id, and several teachers are shown images; mix "
                "them before, or use it as the one teacher"
            )
    if not _is_stored(recipe.teacher.model):
        return
    data = recipe.data
    if data.augment.mix != "none":
        raise RecipeError(
            f"{file.where('data', 'augment', 'mix')}: nothing is stored of images that are mixed; "
            "leave it out, or name a teacher that can be asked"
        )
    if data.augment.crop_min_area is not None:
        raise RecipeError(
            f"{file.where('data', 'augment')}: a crop may show another thing than the image that "
            "the stored logits are of; leave crop_min_area out, or name a teacher that can be asked"
        )
    if data.unlabelled_from is not None:
        raise RecipeError(
            f"{file.where('data', 'unlabelled_from')}: stored logits are looked up by an image's "
            "path within one folder; put all images into one, or name a teacher that can be asked"
        )


def _is_stored(model: str) -> bool:
    asked = asked_teacher(model)
    return asked is not None and asked.kind.by_number
