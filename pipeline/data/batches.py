"""Batches of tensors from sets of images, for training and for evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from foundation.bundle import Preprocessing
from foundation.errors import RecipeError
from pipeline.data.augment import augmented
from pipeline.data.framing import Fit, Framing
from pipeline.data.images import Ids, Images, ImageSet, blocks
from pipeline.data.mixing import drawn_mixing, mixed, mixed_labels
from pipeline.data.prefetch import prefetched
from pipeline.recipe.sections import AugmentRecipe
from smskd.batch import Batch

_FEWEST = 2


class TrainBatches:
    """Shuffled, augmented batches; order, mixing and views are functions of (seed, epoch).

    Args:
        images: what is learned from.
        preprocessing: from a picture to the student's input.
        augment: how a view of an image may vary.
        batch_size: images a batch, of all processes together; all batches of a pass are of one
            size, give or take an image, for a small last one would upset batch-norm. At most so
            many; more only where a process would be left with a single image, which batch-norm
            cannot normalise.
        seed: the run's seed.
        teacher: from a picture to the teacher's input; None as the student's. Pictures are fitted
            as the student's at the larger of both sizes, varied and mixed: both see the same.
        views: so many fixed views of each image; None draws new ones in every epoch.
        view_seed: the seed of the fixed views, which stay the same for all runs' seeds.
        share: (rank, world): of each batch this process takes the rank-th of `world` parts.
        classes: how many there are, for the labels of mixed images; None takes the labels' word.
        fingerprint: of the dataset's files, where it has any.

    Raises:
        RecipeError: when views are to be fixed and images mixed.
    """

    def __init__(
        self,
        images: ImageSet,
        preprocessing: Preprocessing,
        augment: AugmentRecipe,
        batch_size: int,
        seed: int,
        *,
        teacher: Preprocessing | None = None,
        views: int | None = None,
        view_seed: int = 0,
        share: tuple[int, int] = (0, 1),
        classes: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        if views is not None and augment.mix != "none":
            raise RecipeError(
                f'mix = "{augment.mix}" and {views} fixed views do not go together: a mixed image '
                "does not come back; leave out one of them"
            )
        self.images, self.preprocessing, self.augment = images, preprocessing, augment
        self.batch_size, self.seed = batch_size, seed
        self.teacher = teacher or preprocessing
        self.framing = _larger(Fit.of(preprocessing), self.teacher)
        self.views, self.view_seed, self.share = views, view_seed, share
        self.classes = classes or int(images.labels.max()) + 1
        self.fingerprint = fingerprint
        self.epoch = 0

    @property
    def samples(self) -> int:
        """How many samples there are: their ids are 0..samples−1."""
        return len(self.images.labels)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the views of the next pass."""
        self.epoch = epoch

    @property
    def remark(self) -> str | None:
        """What is other about the batches than was asked for; None if nothing is."""
        if len(self) == self._ideal_length:
            return None
        largest = math.ceil(self.samples / len(self))
        return (
            f"{self.samples} images in batches of {self.batch_size} (data.batch_size) would leave "
            "a single one over, which batch normalisation cannot normalise: "
            f"{len(self)} batches of up to {largest}"
        )

    @property
    def _ideal_length(self) -> int:
        return math.ceil(self.samples / self.batch_size)

    def __len__(self) -> int:
        world = self.share[1]
        # A batch size of less says that single images are meant.
        smallest = _FEWEST if self.batch_size >= _FEWEST * world else 1
        return max(min(self._ideal_length, self.samples // (smallest * world)), 1)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        view = None if self.views is None else (epoch + self.seed) % self.views
        order = np.random.default_rng([self.seed, epoch]).permutation(self.samples)
        parts = (self._part(ids) for ids in np.array_split(order, len(self)))
        for number, (ids, images, labels) in enumerate(self._varied(parts, view, epoch)):
            if self.augment.mix == "none":
                yield self._batch(ids, images, labels, view)
            else:
                yield self._batch(ids[:-1], *self._mixed(images, labels, epoch, number), view)

    def view_batches(self, view: int) -> Iterator[Batch]:
        """All samples once, in the order of their ids, in one of the fixed views.

        Raises:
            ValueError: when there is no such view.
        """
        if self.views is None or not 0 <= view < self.views:
            raise ValueError(f"view must be one of {self.views or 0} fixed views, but got {view}")
        for ids, images, labels in self._varied(blocks(self.samples), view, self.epoch):
            yield self._batch(ids, images, labels, view)

    def _part(self, joint: Ids) -> Ids:
        """This process's part of a batch; with mixing, the last one's partner behind it."""
        rank, world = self.share
        # All processes need as many images as each other, and at least one.
        joint = np.resize(joint, max(len(joint) // world, 1) * world)
        own_count = len(joint) // world
        own = np.arange(rank * own_count, (rank + 1) * own_count + (self.augment.mix != "none"))
        return joint[own % len(joint)]

    def _varied(
        self, parts: Iterable[Ids], view: int | None, epoch: int
    ) -> Iterator[tuple[Ids, Tensor, Tensor]]:
        """Ids, images and labels of one part after the other; images varied and normalised."""
        seed, number = (self.seed, epoch) if view is None else (self.view_seed, view)
        for ids, images in _read_ahead(self.images, parts, self.framing):
            varied = augmented(images, ids, seed, number, self.augment)
            labels = torch.from_numpy(self.images.labels[ids])
            yield ids, normalised(varied, self.preprocessing), labels

    def _mixed(
        self, images: Tensor, labels: Tensor, epoch: int, number: int
    ) -> tuple[Tensor, Tensor]:
        """Each image mixed with the next; the order is random, so the next may be any other."""
        mixing = drawn_mixing(self.seed, epoch, number, self.augment)
        result, keep = mixed(images[:-1], images[1:], mixing)
        return result, mixed_labels(labels[:-1], labels[1:], keep, self.classes)

    def _batch(self, ids: Ids, images: Tensor, labels: Tensor, view: int | None) -> Batch:
        student, teacher = _resized(images, self.preprocessing), None
        if _input_of(self.teacher) != _input_of(self.preprocessing):
            at_size = _resized(images, self.teacher)
            teacher = _renormalised(at_size, self.preprocessing, self.teacher)
        return Batch(student, labels, torch.from_numpy(ids), view, teacher)


class EvaluationBatches:
    """Images of all pictures once, in order, as the preprocessing asks for them."""

    def __init__(self, images: ImageSet, preprocessing: Preprocessing) -> None:
        self.images, self.preprocessing = images, preprocessing

    def __len__(self) -> int:
        return sum(1 for _ in blocks(len(self.images.labels)))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = self.images.labels
        fit = Fit.of(self.preprocessing)
        for ids, images in _read_ahead(self.images, blocks(len(labels)), fit):
            yield normalised(images, self.preprocessing), torch.from_numpy(labels[ids])


def _read_ahead(
    images: ImageSet, parts: Iterable[Ids], framing: Framing
) -> Iterator[tuple[Ids, Images]]:
    """The images of each part; while one is used, the next are decoded.

    Only reading runs ahead: augmenting ahead as well made training on few cores slower.
    """
    return prefetched(lambda ids: (ids, images.read(ids, framing)), parts)


def _larger(fit: Fit, teacher: Preprocessing) -> Fit:
    """The student's fit at a size from which the teacher's images can be made too."""
    return fit.at(max(fit.height, teacher.height), max(fit.width, teacher.width))


def _input_of(preprocessing: Preprocessing) -> tuple[object, ...]:
    """What of a preprocessing makes two networks' inputs of one view differ."""
    shape = preprocessing.height, preprocessing.width
    return *shape, preprocessing.mean, preprocessing.std


def normalised(images: Images, preprocessing: Preprocessing) -> Tensor:
    """What `preprocessing.apply` gives, rounding aside, and faster; images of any size.

    Returns:
        float32, shape (N, C, H, W), laid out with the channels last.
    """
    n, height, width, channels = images.shape
    std = np.asarray(preprocessing.std, np.float64)
    scale = np.tile(1 / (255 * std), width).astype(np.float32)
    offset = np.tile(-np.asarray(preprocessing.mean, np.float64) / std, width).astype(np.float32)
    rows = torch.from_numpy(np.ascontiguousarray(images)).view(n, height, width * channels)
    scaled = torch.addcmul(torch.from_numpy(offset), rows.float(), torch.from_numpy(scale))
    return scaled.view(n, height, width, channels).permute(0, 3, 1, 2)


def _resized(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Images of shape (N, C, H, W) at the height and width that a network takes."""
    size = (preprocessing.height, preprocessing.width)
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def _renormalised(images: Tensor, before: Preprocessing, now: Preprocessing) -> Tensor:
    """Images with another mean and deviation than they were normalised with."""
    if (before.mean, before.std) == (now.mean, now.std):
        return images
    old_mean, old_std, mean, std = (
        torch.tensor(values, dtype=torch.float64)
        for values in (before.mean, before.std, now.mean, now.std)
    )
    scale, offset = old_std / std, (old_mean - mean) / std
    shape = (1, -1, 1, 1)
    return torch.addcmul(offset.float().view(shape), images, scale.float().view(shape))
