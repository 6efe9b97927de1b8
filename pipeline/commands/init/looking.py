"""What a user has: images, and a network that is to teach, as far as can be seen of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.graphs.inputs import image_input_of
from export.graphs.recorded_classes import logit_count_of
from foundation.bundle import MANIFEST, open_bundle
from foundation.errors import DataLayoutError, MissingFileError, UsageError
from foundation.files import user_path
from pipeline.data import DATASETS, load_dataset
from pipeline.data.kinds import shown
from pipeline.data.layouts import layout_of
from pipeline.data.parts import are_labelled
from pipeline.models import LIBRARIES, find_factory, preparation_of
from pipeline.recipe.noted import NotedNetwork, noted_network
from pipeline.recipe.sections.data import DataRecipe
from pipeline.recipe.teachers import taught_weights
from pipeline.training.foreign_models import is_graph, is_weights
from pipeline.training.network_classes import check_class_count
from smskd.checkpoints.files import noted_architecture


@dataclass(frozen=True)
class ImagesSeen:
    """A dataset.

    Attributes:
        name: as a recipe has it: "folder:photos".
        layout: how it lies there, in words.
        classes: their names, in the order of the labels.
        counts: images in "train", and in "validation" and "test" where these are held apart.
        smallest_class: images to learn from of the class that has fewest.
        size: height and width that its own images are taken at: the median of the shorter sides.
        channels: 1 for grey, 3 for red, green and blue.
        remarks: what the reading of it told.
    """

    name: str
    layout: str
    classes: list[str]
    counts: dict[str, int]
    smallest_class: int
    size: int
    channels: int
    remarks: list[str]


@dataclass(frozen=True)
class TeacherSeen:
    """A network that is to teach.

    Attributes:
        model: as a recipe has it.
        weights: its file, or pretrained weights by name; None where it is trained first.
        size: of the images that it was made for, where that is known.
        source: where that is from, in words.
        remarks: what the reading of it told.
    """

    model: str
    weights: str | None = None
    size: int | None = None
    source: str = ""
    remarks: tuple[str, ...] = ()


def look_at_images(word: str) -> ImagesSeen:
    """Read a dataset as a run would.

    Args:
        word: a folder, a table of images, or a dataset's name as a recipe has it.

    Raises:
        MissingFileError: when it is none of these.
        DataLayoutError: when there are no images in it, or none with labels.
        UnreadableImageError: when one cannot be decoded.
    """
    name = _dataset_name(word)
    dataset = load_dataset(DataRecipe(name=name))
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    some = dataset.train or dataset.test
    if dataset.train is None or some is None or not are_labelled(some):
        raise DataLayoutError(
            f"{word}: nothing to learn from, for its images have no labels or are all held for "
            "testing; put them into a folder a class (docs/data.md), learn what a finished teacher "
            "says of them with `compress distill --unlabelled`, or export a finished network with "
            "`compress export`, which needs no labels"
        )
    _, height, width, channels = dataset.train.read(np.arange(1)).shape
    return ImagesSeen(
        name=name,
        layout=_layout_words(name),
        classes=dataset.classes,
        counts={part: len(images.labels) for part, images in parts.items() if images is not None},
        smallest_class=int(np.bincount(dataset.train.labels, minlength=len(dataset.classes)).min()),
        size=min(height, width),
        channels=channels,
        # The size that they were looked at in is none that anybody chose.
        remarks=[line for line in dataset.remarks if f"{height}×{width}" not in line],
    )


def _dataset_name(word: str) -> str:
    path = user_path(word)
    if path.is_dir():
        return f"folder:{word}"
    if path.is_file():
        return f"table:{word}"
    if DATASETS.find(word.partition(":")[0]) is None:
        raise MissingFileError(
            f"{word}: no such folder, and no dataset of that name; name the folder that your "
            "images lie in, or a dataset of `compress datasets`"
        )
    return word


def _layout_words(name: str) -> str:
    kind, _, place = name.partition(":")
    if kind != "folder":
        return f"dataset {kind}"
    layout = layout_of(user_path(place))
    splits = [f"{part}/" for part in layout.folders if part]
    return f"a folder a class in {', '.join(splits)}" if splits else "a folder a class"


def look_at_teacher(word: str, weights: str | None, classes: list[str]) -> TeacherSeen:
    """See which network is meant, and what is known of the images that it takes.

    Args:
        word: a model's name, an ONNX file, a bundle of one, a run folder whose teacher is meant, or
            weights that note their network.
        weights: of the model, where they are a file of their own.
        classes: the data's.

    Raises:
        MissingFileError, CorruptFileError: when a file is not there, or not what it should be.
        UnknownNameError: when there is no such model.
        UsageError: when weights do not say of which network they are.
        ModelMismatchError: when it knows another number of classes than the data has.
    """
    path = _in_bundle(user_path(word))
    if is_graph(str(path)):
        return _graph(path, classes)
    taught = taught_weights(word)
    if weights is None and taught is not None and (noted := noted_network(taught)) is not None:
        return _taught(word, taught, noted)
    if weights is None and is_weights(word):
        return _noted(word)
    find_factory(word)
    if weights is not None and is_weights(weights) and not user_path(weights).is_file():
        raise MissingFileError(f"{weights}: no such file; check the path")
    size, source = _prepared(word, weights)
    return TeacherSeen(word, weights, size, source)


def _in_bundle(path: Path) -> Path:
    """The model's file of a bundle; other paths as they are."""
    if path.suffix == ".bundle":
        raise UsageError(f"{path}: a packed bundle; unpack it first: compress bundle unpack {path}")
    return open_bundle(path).model_path if (path / MANIFEST).is_file() else path


def _graph(path: Path, classes: list[str]) -> TeacherSeen:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; check the path")
    count, image = logit_count_of(path), image_input_of(path)
    if count is not None:
        check_class_count(shown(path), count, classes)
    sides = {image.height, image.width} if image else set()
    size = sides.pop() if len(sides) == 1 else None
    return TeacherSeen(str(path), None, size, "the ONNX file's input" if size else "")


def _taught(word: str, path: Path, noted: NotedNetwork) -> TeacherSeen:
    """A teacher that was trained here, whose file tells what it is."""
    if noted.settings or ":" in noted.model:
        raise UsageError(
            f"{word}: is {noted.model} with {noted.settings or 'code of its own'}, which is no "
            f"guess; write model = {str(path)!r} into the recipe's [teacher] yourself"
        )
    seen = noted.preprocessing
    remark = f"{word}: notes that it is {noted.model}, of {len(noted.classes)} classes"
    return TeacherSeen(
        noted.model, str(path), min(seen.height, seen.width), "what its file notes", (remark,)
    )


def _noted(word: str) -> TeacherSeen:
    """Weights alone; a training script may have noted the network beside them."""
    path = user_path(word)
    if not path.is_file():
        raise MissingFileError(f"{word}: no such file; check the path")
    noted = noted_architecture(path)
    names = [noted, *(f"{library}/{noted}" for library in LIBRARIES.names())] if noted else []
    for name in names:
        library, slash, model = str(name).rpartition("/")
        if slash and model in LIBRARIES.get(library).names():
            size, source = _prepared(f"{library}/{model}", word)
            remark = f"{word}: was saved as of {noted!r}, which is taken to be {library}/{model}"
            return TeacherSeen(f"{library}/{model}", word, size, source, (remark,))
    raise UsageError(
        f"{word}: does not say of which network it is; name that: --teacher torchvision/resnet50 "
        f"--teacher-weights {word}"
    )


def _prepared(model: str, weights: str | None) -> tuple[int | None, str]:
    """The size of the images that a model was made for, and who says so."""
    owner, slash, name = model.partition("/")
    if not slash or ":" in model:
        return None, ""
    published = LIBRARIES.get(owner).weights(name)
    of_weights = weights if weights and not is_weights(weights) else None
    first = of_weights or (f"{owner}:{published[0]}" if published else None)
    known = preparation_of(model, first)
    if known is None or known.size is None:
        return None, ""
    return min(known.size), f"{model} was published for images of that size"
