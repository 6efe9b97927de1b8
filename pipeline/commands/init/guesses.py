"""What nobody said of a recipe, guessed: each rule gives a value and what it goes by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from deploy_targets.targets import Target
from pipeline.commands.init.looking import ImagesSeen, TeacherSeen
from pipeline.training.foreign_models import is_graph

# From this side on images are photos, and networks are those of ImageNet.
_PHOTOS_FROM = 96
_USUAL_SIDE, _SMALLEST_SIDE, _STEP = 224, 32, 32
_SMALL_IMAGES_UP_TO = 64
# Images that a student sees in all; fewer images want more epochs, within these bounds.
_IMAGES_SEEN, _FEWEST_EPOCHS, _MOST_EPOCHS = 120_000, 30, 120
_BATCHES = (64, 32, 16, 8)
_BATCHES_AN_EPOCH = 10
_FEW_OF_A_CLASS = 20
_SLOW_GOPS, _FAST_GOPS = 40.0, 200.0

_PHOTO_STUDENTS = {
    "fast": "torchvision/resnet18",
    "middling": "torchvision/shufflenet_v2_x1_0",
    "slow": "torchvision/shufflenet_v2_x0_5",
}
_SMALL_STUDENTS = {"fast": "resnet20", "middling": "resnet14", "slow": "resnet8"}
_PHOTO_TEACHER, _SMALL_TEACHER = "torchvision/resnet34", "resnet56"


@dataclass(frozen=True)
class Guess:
    """A value of a recipe that nobody gave.

    Attributes:
        key: its place: "data.image_size".
        value: as TOML has it.
        why: what it goes by, in a line.
    """

    key: str
    value: Any
    why: str


def is_of_photos(size: int) -> bool:
    """Whether images of a side are for networks of ImageNet's kind."""
    return size >= _PHOTOS_FROM


def usual_teacher(images: ImagesSeen) -> Guess:
    """A teacher where nobody names one."""
    model = _PHOTO_TEACHER if is_of_photos(images.size) else _SMALL_TEACHER
    return Guess("teacher.model", model, f"usual for images of about {images.size} pixels")


def image_size(images: ImagesSeen, teacher: TeacherSeen) -> Guess:
    """Height and width of what both networks see."""
    if teacher.size is not None and (is_of_photos(images.size) or is_graph(teacher.model)):
        return Guess("data.image_size", teacher.size, teacher.source)
    median = f"the images' shorter sides have a median of {images.size} pixels"
    if is_of_photos(images.size):
        return Guess("data.image_size", min(_USUAL_SIDE, _rounded(images.size)), median)
    side = min(_SMALL_IMAGES_UP_TO, max(_SMALLEST_SIDE, _rounded(images.size)))
    return Guess("data.image_size", side, median)


def _rounded(size: int) -> int:
    return max(_STEP, size // _STEP * _STEP)


def data_guesses(images: ImagesSeen, size: int) -> Iterator[Guess]:
    """How the images are prepared, held out, varied and put into batches."""
    count = images.counts["train"]
    if is_of_photos(size) and images.channels == 3:
        why = "the way that networks for photos are usually trained in: a crop of the middle"
        yield Guess("data.preprocessing.source", "imagenet", why)
    if "validation" not in images.counts:
        few = images.smallest_class < _FEW_OF_A_CLASS
        why = f"the smallest class has {images.smallest_class} images to learn from"
        yield Guess("data.val_fraction", 0.2 if few else 0.1, why)
    batch = next((b for b in _BATCHES if count >= b * _BATCHES_AN_EPOCH), _BATCHES[-1])
    yield Guess("data.batch_size", batch, f"{count:,} images to learn from")
    preset = "imagenet" if is_of_photos(size) else "cifar"
    why = f"usual at {size} pixels; it mirrors, so not where left and right mean something: digits"
    yield Guess("data.augment.preset", preset, why)


def epochs(images: ImagesSeen) -> tuple[int, str]:
    """Epochs of each training in all, and what they go by."""
    count = images.counts["train"]
    wanted = max(_FEWEST_EPOCHS, min(_MOST_EPOCHS, round(_IMAGES_SEEN / count)))
    return wanted, f"{count:,} images to learn from; more epochs usually give more accuracy"


def speed_class(target: Target) -> tuple[str, str]:
    """ "slow", "middling" or "fast", and what that goes by."""
    peak = target.peak_gops(target.threads or target.cores or 1).get("fp32")
    if peak is None:
        return "middling", f"how fast {target.name} is, its profile does not tell"
    which = "slow" if peak < _SLOW_GOPS else "fast" if peak >= _FAST_GOPS else "middling"
    return which, f"{target.name} is {which}: {peak:.0f} GOP/s of fp32 at most"


def students(target: Target, size: int) -> tuple[Sequence[str], str]:
    """Students for a target, the one that fits it best first and then smaller ones, and why."""
    by_speed = _PHOTO_STUDENTS if is_of_photos(size) else _SMALL_STUDENTS
    which, why = speed_class(target)
    names = list(by_speed.values())
    return names[list(by_speed).index(which) :], why
