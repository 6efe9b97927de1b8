"""Rare classes in the cross-entropy: weights of classes, and logit adjustment.

Both go by each class's share of the images that are drawn: where a loader draws rare classes more
often, these are the shares after that, so that nothing is evened out twice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foundation.errors import TrainingError
from smskd.batch import Batches
from smskd.stage import ClassWeightsName, Stage


def class_weights(shares: Tensor, kind: ClassWeightsName) -> Tensor:
    """How much an image of each class counts, shape (classes,): 1 on average over the images.

    King and Zeng, "Logistic Regression in Rare Events Data" (2001); "inverse" is scikit-learn's
    "balanced".

    Args:
        shares: π, of each class among the images, shape (classes,), summing to 1.
        kind: "inverse": w ∝ 1 / π. "sqrt": w ∝ 1 / √π. A class without images has 0.
    """
    power = {"inverse": -1.0, "sqrt": -0.5}[kind]
    weights = torch.where(shares > 0, shares.clamp_min(1e-12) ** power, 0.0)
    return weights / (shares * weights).sum()


def log_prior(shares: Tensor) -> Tensor:
    """log π, shape (classes,); of a class without images, as log 0 would take it out of the loss,
    that of half of the rarest one's share."""
    least = shares[shares > 0].min() / 2
    return shares.clamp_min(float(least)).log()


class RareClasses(nn.Module):
    """What a stage does for rare classes.

    Attributes:
        weights: of each class, shape (classes,); None where all count alike.

    Args:
        stage: says what.
        shares: of each class among the images that are drawn; needed once it is to do something.
    """

    weights: Tensor | None
    offset: Tensor | None

    def __init__(self, stage: Stage, shares: Tensor | None) -> None:
        super().__init__()
        self._stage, self._classes = stage, None if shares is None else len(shares)
        weights = offset = None
        if shares is not None and stage.class_weights is not None:
            weights = class_weights(shares, stage.class_weights)
        if shares is not None and stage.logit_adjustment:
            offset = stage.logit_adjustment * log_prior(shares)
        # They follow from stage and data, so no file needs them.
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def adjusted(self, logits: Tensor) -> Tensor:
        """The logits that the cross-entropy is of, shape (N, classes): s + τ log π.

        Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021, arXiv 2007.07314),
        equation 10.

        Raises:
            TrainingError: when nobody said how many images each class has, and that is needed.
        """
        if self._stage.knows_shares and self._classes != logits.shape[1]:
            shares = "no" if self._classes is None else f"{self._classes}"
            raise TrainingError(
                f"stage {self._stage.name}: class_weights and logit_adjustment go by each class's "
                f"share of the images, but there are {shares} shares for {logits.shape[1]} "
                "classes; give the batches an attribute class_shares, a number for each class, "
                "which sum to 1"
            )
        return logits if self.offset is None else logits + self.offset


def class_shares(batches: Batches) -> Tensor | None:
    """Each class's share of the images that are drawn, shape (classes,), float32: the batches' own
    `class_shares`; None where they do not tell."""
    shares = getattr(batches, "class_shares", None)
    return None if shares is None else torch.as_tensor(shares, dtype=torch.float32)
