"""From losses to optimizer steps: gradients of one batch or several, clipped, and a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from smskd.blame import blamed
from smskd.curve import Curve
from smskd.stage import Stage
from smskd.training.schedule import make_optimizer, set_rate
from smskd.training.train_step import TrainStep


class Descent:
    """Takes the optimizer steps of a stage.

    Attributes:
        wrapped: the train step as the engine runs it.
        optimizer: over all that learns in it.

    Args:
        fabric: the engine's, launched.
        step: what learns.
        stage: its clipping and accumulation are kept.
        curve: its learning rate.
        shares: of it, by the names of the student's parameters; 1 where one is left out.
    """

    def __init__(
        self,
        fabric: Any,
        step: TrainStep,
        stage: Stage,
        curve: Curve,
        *,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.fabric, self.step, self.stage, self.curve = fabric, step, stage, curve
        by_parameter = {
            parameter: shares[name]
            for name, parameter in step.student.named_parameters()
            if shares and name in shares
        }
        optimizer = make_optimizer(
            stage, self._learning(), curve.lr, step.objective.paces, by_parameter
        )
        self.wrapped, self.optimizer = fabric.setup(step, optimizer)
        self._pending = 0  # batches whose gradients wait for the next optimizer step

    def after_batch(
        self,
        losses_of: Callable[[], dict[str, Tensor]],
        position: float,
        number: int,
        batches: int | None,
    ) -> dict[str, Tensor]:
        """Add a batch's gradients, and take a step where it is the last that makes one.

        Args:
            losses_of: runs the batch; "loss" is what is minimised.
            position: epochs finished, with the fraction of the running one.
            number: of the batch in its epoch, from 0.
            batches: how many the epoch has; None when nobody knows.

        Returns:
            The batch's losses.
        """
        if self._pending == 0:
            set_rate(self.optimizer, self.curve.rate(position))
            self.optimizer.zero_grad()
        share, last = self._share(number, batches)
        # Where nobody knows the last batch, each may be it.
        synced = last or batches is None
        with nullcontext() if synced else self.fabric.no_backward_sync(self.wrapped):
            losses = losses_of()
            with blamed(self.step.student, f"learning in stage {self.stage.name} (gradients)"):
                self.fabric.backward(losses["loss"] / share)
        self._pending += 1
        if last:
            self._take_step()
        return losses

    def after_epoch(self) -> None:
        """Take a step of what is left, where fewer batches came than were expected."""
        if self._pending == 0:
            return
        # Theirs is the mean, too.
        for parameter in self._learning():
            if parameter.grad is not None:
                parameter.grad.mul_(self.stage.accumulate / self._pending)
        self._take_step()

    def _learning(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.step.parameters() if parameter.requires_grad]

    def _share(self, number: int, batches: int | None) -> tuple[int, bool]:
        """How many batches make the running optimizer step, and whether this is the last."""
        size = self.stage.accumulate
        if batches is not None:
            first = number - self._pending
            # Some loaders give more batches than they say.
            size = min(size, max(batches - first, 1))
        return size, self._pending + 1 == size

    def _take_step(self) -> None:
        if self.stage.max_grad_norm is not None:
            # What is not finite is met at the epoch's end, with a word on where and what to do.
            self.fabric.clip_gradients(
                self.wrapped,
                self.optimizer,
                max_norm=self.stage.max_grad_norm,
                error_if_nonfinite=False,
            )
        self.optimizer.step()
        self.step.after_step()
        self._pending = 0
