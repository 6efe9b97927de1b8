"""What later steps need to know of the data, written once, so that they never load the dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.bundle import Preprocessing
from foundation.errors import CorruptFileError, MissingFileError
from foundation.files import replacing, user_path, write_json
from foundation.records import read_record
from foundation.sense import at_least

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.data.images import ArrayImages

FACTS, CALIBRATION, PROBE = "facts.json", "calibration.npz", "probe.npz"
VALIDATION, TEST = "validation.npz", "test.npz"
AGREEMENT = "agreement.npz"
"""What bundles of the student are judged on where images have no labels: the test images that have
one, if any, then those without, whose labels are the teacher's answers."""
_PARTS = ("train", "student_train", "validation", "test")


@dataclass(frozen=True)
class DataFacts:
    """What a trained network was trained for.

    Attributes:
        name: the dataset, as `public_name` has it: this goes with every bundle.
        classes: names, in the order of the logits.
        preprocessing: from a picture to the student's input, which is what ships.
        counts: images in train, student_train, validation and test; none where those of the test
            stand in for them. Of further images without labels those that the student learns from
            are among its own, and "unlabelled_validation" and "unlabelled_test" are there too.
        skipped: image files that were passed over, by their places in the dataset.
        teachers_own: from a picture to the teacher's input, where it is not the student's.
        fingerprint: of the dataset's files; see `pipeline.data.fingerprint`.
        has_labels: whether the images have any; the classes are the network's where they have none.
    """

    name: str
    classes: list[str]
    preprocessing: Preprocessing
    counts: dict[str, int]
    skipped: list[str]
    teachers_own: Preprocessing | None = None
    fingerprint: str | None = None
    has_labels: bool = True

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        missing = [part for part in _PARTS if part not in self.counts]
        if missing:
            yield f"counts says nothing of {', '.join(missing)}"
        yield from at_least(0, **self.counts)
        yield from at_least(1, classes=len(self.classes))

    @property
    def teacher_preprocessing(self) -> Preprocessing:
        """From a picture to the teacher's input."""
        return self.teachers_own or self.preprocessing

    def seen_by(self, role: str) -> Preprocessing:
        """From a picture to the input of "student" or "teacher"."""
        return self.teacher_preprocessing if role == "teacher" else self.preprocessing

    def images_for(self, role: str, name: str) -> str:
        """The file with the images for a use (`CALIBRATION`, ...) as a role sees them."""
        return f"teacher-{name}" if role == "teacher" and self.teachers_own else name


def public_name(name: str) -> str:
    """A dataset's name without the folders that it lies in: folder:/home/me/photos is
    folder:photos to everybody else."""
    kind, _, place = name.partition(":")
    if not place:
        return name
    path = Path(place)
    return f"{kind}:{path.resolve().name if path.name in ('', '..') else path.name}"


def public_place(place: str, name: str) -> str:
    """A file of a dataset by its place in it.

    Args:
        place: its path, as messages have it.
        name: the dataset, as the recipe names it.
    """
    named = name.partition(":")[2]
    if not named:
        return place
    root = user_path(named)
    within = place.removeprefix(f"{root.parent if root.is_file() else root}{os.sep}")
    # A table may name files anywhere.
    return Path(within).name if Path(within).is_absolute() else within


def write_facts(folder: Path, facts: DataFacts) -> Path:
    """Write the facts into a run's data folder."""
    write_json(folder / FACTS, asdict(facts))
    return folder / FACTS


def read_facts(folder: Path) -> DataFacts:
    """The facts in a run's data folder.

    Raises:
        MissingFileError: when no step has written them yet.
        CorruptFileError: when they cannot be understood.
    """
    if not (folder / FACTS).is_file():
        raise MissingFileError(
            f"{folder / FACTS}: not there; run `compress distill` for this run folder first"
        )
    advice = "delete it and run `compress distill` again"
    return read_record(folder / FACTS, DataFacts, "the facts of a dataset", advice)


def write_images(path: Path, images: ArrayImages) -> Path:
    """Write images and labels as .npz: `images` uint8 (N, H, W, C), `labels` int64 (N,)."""
    import numpy as np  # noqa: PLC0415 - to read facts needs none

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, images=images.pixels, labels=images.labels)
    return path


def read_images(path: Path) -> ArrayImages:
    """Read what `write_images` wrote.

    Raises:
        MissingFileError: when there is no such file.
        CorruptFileError: when it is not such a file.
    """
    import numpy as np  # noqa: PLC0415 - as above

    from pipeline.data.images import ArrayImages  # noqa: PLC0415 - PIL

    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = ArrayImages(arrays["images"], arrays["labels"])
        _check_images(images)
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: not there; run `compress distill` for this run folder first"
        ) from error
    # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(
            f"{path}: not a file of images ({reason}); delete it and run `compress distill` again"
        ) from error
    return images


def read_labels(path: Path) -> NDArray[np.int64]:
    """The labels of what `write_images` wrote, (N,); the images are not read.

    Raises:
        CorruptFileError: when it is not such a file.
    """
    import numpy as np  # noqa: PLC0415 - as above

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays["labels"], np.int64)
    # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
    except Exception as error:
        raise CorruptFileError(
            f"{path}: not a file of images ({type(error).__name__}); delete it and run "
            "`compress distill` again"
        ) from error


def _check_images(images: ArrayImages) -> None:
    pixels, labels = images.pixels, images.labels
    if pixels.dtype != "uint8" or pixels.ndim != 4:
        raise ValueError(f"images are {pixels.dtype} {pixels.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise ValueError(f"labels are {labels.dtype} {labels.shape} of {len(pixels)} images")
