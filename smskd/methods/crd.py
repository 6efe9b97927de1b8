"""CRD: the student tells a sample, as the teacher sees it, from many samples of other classes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from foundation.errors import DataLayoutError
from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Method, Progress
from smskd.methods._relations import Projection, inner_products, unit_rows
from smskd.pair import Pair
from smskd.precision import full_precision


def crd_loss(similarities: Tensor, log_normaliser: Tensor, samples: int) -> Tensor:
    """Noise-contrastive loss of telling a sample's own memory from K drawn ones: shape (..., N).

    Tian et al., "Contrastive Representation Distillation" (2020), equations 17 to 19: the
    probability that a memory is the sample's own is p / (p + K / samples) with p = exp(s) / Z.

    Args:
        similarities: cosines over temperature, shape (..., N, 1 + K), the own memory's first.
        log_normaliser: log Z, any shape that broadcasts.
        samples: how many memories the negatives are drawn from.
    """
    negatives = similarities.shape[-1] - 1
    scores = similarities - log_normaliser - math.log(max(negatives, 1) / samples)
    return -(F.logsigmoid(scores[..., 0]) + F.logsigmoid(-scores[..., 1:]).sum(-1))


def estimated_log_normaliser(similarities: Tensor, samples: int) -> Tensor:
    """log Z, where Z is the sum of exp(s) over all memories, from those that were drawn.

    Args:
        similarities: shape (..., N, 1 + K).
        samples: how many memories there are.

    Returns:
        Shape (...,).
    """
    drawn = similarities.flatten(-2)
    return drawn.logsumexp(-1) + math.log(samples / drawn.shape[-1])


def draw_negatives(own: Tensor, labels: Tensor, at_most: int) -> Tensor:
    """Numbers of samples that are of other classes, drawn evenly and independently.

    Args:
        own: classes of the batch, shape (N,).
        labels: class of every sample of the training set, shape (samples,); −1 where unknown,
            which counts as another class.
        at_most: how many to draw for each; fewer when some class has fewer others.

    Returns:
        Shape (N, K).
    """
    by_class, order = labels.sort(stable=True)
    begin = torch.searchsorted(by_class, own).unsqueeze(1)
    end = torch.searchsorted(by_class, own, right=True).unsqueeze(1)
    other_count = len(labels) - (end - begin)
    count = min(at_most, int(other_count.min()))
    place = torch.randint(2**53, (len(own), count), device=labels.device) % other_count
    # The own class lies in one piece, from `begin` to `end`; places from there on skip it.
    return order[torch.where(place < begin, place, place + (end - begin))]


def new_bank(samples: int, dims: int) -> Tensor:
    """Memories that are random, of length about 1: shape (samples, dims)."""
    reach = math.sqrt(3 / dims)
    return torch.empty(samples, dims).uniform_(-reach, reach)


@METHODS.register("crd")
class CRD(Method):
    """Contrastive distillation with a memory of every training sample.

    Both networks' embeddings go through a learnt linear head to the unit sphere. The student is
    compared with the teacher's memories and the teacher with the student's. Negatives are drawn
    from the samples of other classes; a sample's class is known once it has been in a batch.

    Args:
        dims: width of the heads and of the memories.
        negatives: how many memories each sample is told from.
        temperature: divides the cosines.
        momentum: how much of a memory stays when its sample is seen again.

    Raises:
        ValueError: unless dims and negatives are at least 1, the temperature is positive, and
            the momentum is in 0..1 without 1.
    """

    family = "relation"
    paper = "Tian et al. 2020, arXiv 1910.10699"
    formula = "NCE of h(s)·memory(t)/τ and of h(t)·memory(s)/τ against other classes' memories"
    needs = ("ids", "class labels", "embedding")
    relates_samples = True
    default_weight = 0.8

    student_head: Projection
    teacher_head: Projection
    student_bank: Tensor
    teacher_bank: Tensor
    labels: Tensor
    log_normalisers: Tensor

    def __init__(
        self,
        *,
        dims: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        super().__init__()
        if dims < 1 or negatives < 1:
            raise ValueError(
                f"dims and negatives must be at least 1, but got {dims=}, {negatives=}"
            )
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, but got {temperature=}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in 0..1, below 1, but got {momentum=}")
        self.dims = dims
        self.negatives = negatives
        self.temperature = temperature
        self.momentum = momentum

    def build(self, pair: Pair) -> None:
        super().build(pair)
        student_width, teacher_width = pair.student_shapes.embedding, pair.teacher_shapes.embedding
        assert student_width is not None and teacher_width is not None and pair.samples is not None
        self.student_head = Projection(student_width, self.dims)
        self.teacher_head = Projection(teacher_width, self.dims)
        self.register_buffer("student_bank", new_bank(pair.samples, self.dims))
        self.register_buffer("teacher_bank", new_bank(pair.samples, self.dims))
        self.register_buffer("labels", torch.full((pair.samples,), -1))
        # log Z of the student's and of the teacher's scores; −∞ until the first batch sets it.
        self.register_buffer("log_normalisers", torch.full((2,), -math.inf))

    def forward(
        self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        """The loss; in training, the batch's memories are then brought up to date.

        Raises:
            DataLayoutError: when an id is not the number of a sample.
        """
        assert student.embedding is not None and teacher.embedding is not None
        assert batch.ids is not None
        self._check(batch.ids)
        student_points = unit_rows(self.student_head(student.embedding))
        teacher_points = unit_rows(self.teacher_head(teacher.embedding))
        labels = self.labels.scatter(0, batch.ids, batch.labels)
        drawn = draw_negatives(batch.labels, labels, self.negatives)
        compared = torch.cat([batch.ids.unsqueeze(1), drawn], dim=1)
        similarities = torch.stack(
            [
                self._similarities(student_points, self.teacher_bank, compared),
                self._similarities(teacher_points, self.student_bank, compared),
            ]
        )
        log_normalisers = self._log_normalisers(similarities.detach())
        if self.training:
            self.labels.copy_(labels)
            self.log_normalisers.copy_(log_normalisers)
            self._remember(self.student_bank, batch.ids, student_points)
            self._remember(self.teacher_bank, batch.ids, teacher_points)
        normaliser = log_normalisers.view(2, 1, 1)
        return crd_loss(similarities, normaliser, len(self.labels)).sum(0).mean()

    def _check(self, ids: Tensor) -> None:
        least, most = (int(end) for end in ids.aminmax())
        if least < 0 or most >= len(self.labels):
            raise DataLayoutError(
                f"ids must number the {len(self.labels)} training samples from 0, but a batch has "
                f"ids from {least} to {most}"
            )

    def _similarities(self, points: Tensor, bank: Tensor, compared: Tensor) -> Tensor:
        # All memories, since picking out K for each sample moves more data than it saves. A copy,
        # since the bank is written to before the gradient is taken.
        products = inner_products(points, full_precision(bank.clone()))
        return products.gather(1, compared) / self.temperature

    def _log_normalisers(self, similarities: Tensor) -> Tensor:
        estimate = estimated_log_normaliser(similarities, len(self.labels))
        return torch.where(self.log_normalisers.isinf(), estimate, self.log_normalisers)

    @torch.no_grad()
    def _remember(self, bank: Tensor, ids: Tensor, points: Tensor) -> None:
        averaged = self.momentum * bank[ids] + (1 - self.momentum) * points
        bank[ids] = unit_rows(averaged).to(bank.dtype)
