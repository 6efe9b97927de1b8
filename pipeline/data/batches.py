"""Batches of tensors from sets of images, for training and for evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from foundation.bundle import Preprocessing
from foundation.errors import RecipeError
from foundation.labels import UNLABELLED
from foundation.memory import images_at_once
from pipeline.data.augment import augmented
from pipeline.data.buffers import Buffers
from pipeline.data.cropping import RandomCrop
from pipeline.data.erasing import erase
from pipeline.data.framing import Fit, Framing
from pipeline.data.images import BLOCK, Ids, Images, ImageSet, blocks
from pipeline.data.mixing import drawn_mixing, mixed, mixed_labels
from pipeline.data.normalising import normalise, normalised
from pipeline.data.prefetch import in_pieces, prefetched, usable_cores
from pipeline.data.sampling import Sampling, drawn_ids, drawn_shares
from pipeline.recipe.sections.data import AugmentRecipe
from smskd.batch import Batch

_FEWEST = 2
_CHUNK_BYTES, _CHUNK_IMAGES = 2**21, 32  # at most of the pixels that a thread makes at once


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
        numbers: of each sample, what a teacher that looks answers up is shown in place of images.
        unlabelled_share: share of each epoch's images that have no label, each epoch drawn anew;
            None shows each image once.
        fingerprint: of the dataset's files, where it has any.
        pin: images lie in pinned memory, from which a GPU takes them while the processor goes on.
        sampling: how often images of a class are drawn; None draws each image once.

    Raises:
        RecipeError: when views are to be fixed and images mixed; when crops of a size of their own
            are to be taken for networks of two sizes.
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
        unlabelled_share: float | None = None,
        numbers: Ids | None = None,
        fingerprint: str | None = None,
        pin: bool = False,
        sampling: Sampling | None = None,
    ) -> None:
        if views is not None and augment.mix != "none":
            raise RecipeError(
                f'mix = "{augment.mix}" and {views} fixed views do not go together: a mixed image '
                "does not come back; leave out one of them"
            )
        self.images, self.augment = images, augment
        self.batch_size, self.seed = batch_size, seed
        self.preprocessing = _at_crop_size(preprocessing, preprocessing, augment)
        self.teacher = _at_crop_size(teacher or preprocessing, preprocessing, augment)
        self.framing = _larger(Fit.of(self.preprocessing), self.teacher)
        self.views, self.view_seed, self.share = views, view_seed, share
        self.classes = classes or int(images.labels.max()) + 1
        self.unlabelled_share, self.numbers = unlabelled_share, numbers
        self.fingerprint = fingerprint
        self.pin, self.sampling = pin, sampling
        self.epoch = 0

    @property
    def samples(self) -> int:
        """How many samples there are: their ids are 0..samples−1."""
        return len(self.images.labels)

    @property
    def class_shares(self) -> NDArray[np.float64]:
        """Each class's share of the images that are drawn, (classes,)."""
        return drawn_shares(self.images.labels, self.sampling, self.classes)

    @cached_property
    def shown(self) -> int:
        """How many images an epoch shows."""
        if self.unlabelled_share is None:
            return self.samples
        labelled = int((self.images.labels != UNLABELLED).sum())
        beside = labelled * self.unlabelled_share / (1 - self.unlabelled_share)
        return labelled + max(round(beside), 1)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the views of the next pass."""
        self.epoch = epoch

    @property
    def remark(self) -> str | None:
        """What is other about the batches than was asked for; None if nothing is."""
        if len(self) == self._ideal_length:
            return None
        largest = math.ceil(self.shown / len(self))
        return (
            f"{self.shown} images in batches of {self.batch_size} (data.batch_size) would leave "
            "a single one over, which batch normalisation cannot normalise: "
            f"{len(self)} batches of up to {largest}"
        )

    @property
    def _ideal_length(self) -> int:
        return math.ceil(self.shown / self.batch_size)

    def __len__(self) -> int:
        world = self.share[1]
        # A batch size of less says that single images are meant.
        smallest = _FEWEST if self.batch_size >= _FEWEST * world else 1
        return max(min(self._ideal_length, self.shown // (smallest * world)), 1)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        view = None if self.views is None else (epoch + self.seed) % self.views
        order = self._order(epoch)
        parts = (self._part(ids) for ids in np.array_split(order, len(self)))
        for number, (ids, images, labels) in enumerate(self._varied(parts, view, epoch)):
            if self.augment.mix == "none":
                yield self._batch(ids, images, labels, view)
            else:
                yield self._batch(ids[:-1], *self._mixed(images, labels, epoch, number), view)

    def _order(self, epoch: int) -> Ids:
        """What is drawn for an epoch, in its order, as `drawn_ids` has it."""
        random = np.random.default_rng([self.seed, epoch])
        order = drawn_ids(self.images.labels, self.sampling, random)
        if self.unlabelled_share is not None:
            is_labelled = self.images.labels[order % self.samples] != UNLABELLED
            labelled, others = order[is_labelled], order[~is_labelled]
            count = self.shown - len(labelled)
            rounds = [
                random.permutation(others) + number * self.samples
                for number in range(math.ceil(count / len(others)))
            ]
            order = random.permutation(np.concatenate([labelled, *rounds])[: self.shown])
        # A fixed view of an image is one, however often it is drawn.
        return order if self.views is None else order % self.samples

    def view_batches(self, view: int) -> Iterator[Batch]:
        """All samples once, in the order of their ids, in one of the fixed views.

        Raises:
            ValueError: when there is no such view.
        """
        if self.views is None or not 0 <= view < self.views:
            raise ValueError(f"view must be one of {self.views or 0} fixed views, but got {view}")
        size = _at_once(self.framing.height, self.framing.width, self.preprocessing)
        for ids, images, labels in self._varied(blocks(self.samples, size), view, self.epoch):
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
        """Ids, images and labels of one part after the other; images varied and normalised.

        Args:
            parts: what is drawn, as `drawn_ids` has it.
            view: which of the fixed views; None varies each copy of an image by itself.
            epoch: the number of the pass.
        """
        seed, number = (self.seed, epoch) if view is None else (self.view_seed, view)
        buffers = Buffers(self._shape, pin=self.pin)

        def pieces_of(ids: Ids) -> list[Callable[[], tuple[Ids, Tensor]]]:
            images = buffers.take(len(ids))
            return [
                partial(self._fill, ids, images, some, seed, number) for some in self._pieces(ids)
            ]

        # All of the work is done ahead, by as many threads as there are cores: what one thread
        # decodes, varies and normalises goes through its cache once.
        for (ids, images), *_ in in_pieces(pieces_of, parts):
            real = ids % self.samples
            yield real, images.permute(0, 3, 1, 2), torch.from_numpy(self.images.labels[real])

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a view."""
        return self.framing.height, self.framing.width, self.preprocessing.channels

    def _pieces(self, ids: Ids) -> list[slice]:
        """A batch in parts, each large enough to be worth a thread's while."""
        size = max(1, min(_CHUNK_BYTES // math.prod(self._shape), _CHUNK_IMAGES))
        return [slice(start, start + size) for start in range(0, len(ids), size)]

    def _fill(
        self, ids: Ids, images: Tensor, some: slice, seed: int, view: int
    ) -> tuple[Ids, Tensor]:
        """Make some images of a batch where they belong: read, varied and normalised."""
        own = ids[some]
        pixels = self.images.read(own % self.samples, self._framing(own, seed, view))
        varied = augmented(pixels, own, seed, view, self.augment)
        normalise(varied, self.preprocessing, images[some])
        if self.augment.erase:
            erase(images[some].numpy(), own, seed, view, self.augment.erase)
        return ids, images

    def _framing(self, ids: Ids, seed: int, view: int) -> Framing:
        """Where in their pictures images are taken: each elsewhere, or all alike."""
        if self.augment.crop_min_area is None:
            return self.framing
        return RandomCrop.of(self.framing, self.augment.crop_min_area, ids, seed, view)

    def _mixed(
        self, images: Tensor, labels: Tensor, epoch: int, number: int
    ) -> tuple[Tensor, Tensor]:
        """Each image mixed with the next; the order is random, so the next may be any other."""
        mixing = drawn_mixing(self.seed, epoch, number, self.augment)
        result, keep = mixed(images[:-1], images[1:], mixing)
        return result, mixed_labels(labels[:-1], labels[1:], keep, self.classes)

    def _batch(self, ids: Ids, images: Tensor, labels: Tensor, view: int | None) -> Batch:
        student, teacher = resized(images, self.preprocessing), None
        if self.numbers is not None:
            teacher = as_images(self.numbers[ids])
        elif _input_of(self.teacher) != _input_of(self.preprocessing):
            at_size = resized(images, self.teacher)
            teacher = renormalised(at_size, self.preprocessing, self.teacher)
        return Batch(student, labels, torch.from_numpy(ids), view, teacher)


class EvaluationBatches:
    """Images of all pictures once, in order, as the preprocessing asks for them.

    Args:
        images: the pictures.
        preprocessing: how they become images.
        numbers: of each, what a teacher that looks answers up is shown in place of images.
    """

    def __init__(
        self, images: ImageSet, preprocessing: Preprocessing, numbers: Ids | None = None
    ) -> None:
        self.images, self.preprocessing, self.numbers = images, preprocessing, numbers

    def __len__(self) -> int:
        return sum(1 for _ in self._blocks())

    def _blocks(self) -> Iterator[Ids]:
        shape = self.preprocessing
        return blocks(len(self.images.labels), _at_once(shape.height, shape.width, shape))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        labels = self.images.labels
        if self.numbers is not None:
            for ids in self._blocks():
                yield as_images(self.numbers[ids]), torch.from_numpy(labels[ids])
            return
        fit = Fit.of(self.preprocessing)
        for ids, images in _read_ahead(self.images, self._blocks(), fit):
            yield normalised(images, self.preprocessing), torch.from_numpy(labels[ids])


def as_images(numbers: Ids) -> Tensor:
    """Numbers of pictures in the place of their images: int64, shape (N, 1, 1, 1)."""
    return torch.from_numpy(numbers).view(-1, 1, 1, 1)


def _at_once(height: int, width: int, preprocessing: Preprocessing) -> int:
    """How many images of a height and width a network is asked about at once."""
    return images_at_once(height, width, preprocessing.channels, BLOCK)


def _read_ahead(
    images: ImageSet, parts: Iterable[Ids], framing: Framing
) -> Iterator[tuple[Ids, Images]]:
    """The images of each part; while one is used, the next are decoded."""
    # Of large images few are read at once, each few by one thread.
    return prefetched(lambda ids: (ids, images.read(ids, framing)), parts, max(2, usable_cores()))


def _at_crop_size(
    network: Preprocessing, student: Preprocessing, augment: AugmentRecipe
) -> Preprocessing:
    """A network's preprocessing in training, where crops may have a size of their own.

    Raises:
        RecipeError: when the network and the student take images of different sizes.
    """
    size = augment.crop_size
    if size is None:
        return network
    if (network.height, network.width) != (student.height, student.width):
        raise RecipeError(
            f"data.augment.crop_size = {size} is one size for both networks, but the teacher takes "
            f"{network.height}×{network.width} and the student {student.height}×{student.width}; "
            "leave it out, or give both one size"
        )
    return replace(network, height=size, width=size, resize_to=None, fit="squash")


def _larger(fit: Fit, teacher: Preprocessing) -> Fit:
    """The student's fit at a size from which the teacher's images can be made too."""
    return fit.at(max(fit.height, teacher.height), max(fit.width, teacher.width))


def _input_of(preprocessing: Preprocessing) -> tuple[object, ...]:
    """What of a preprocessing makes two networks' inputs of one view differ."""
    shape = preprocessing.height, preprocessing.width
    return *shape, preprocessing.mean, preprocessing.std


def resized(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Images of shape (N, C, H, W) at the height and width that a network takes."""
    size = (preprocessing.height, preprocessing.width)
    if tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def renormalised(images: Tensor, before: Preprocessing, now: Preprocessing) -> Tensor:
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
