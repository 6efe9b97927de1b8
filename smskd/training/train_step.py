"""One step of training: all that learns in a stage, as one module, and its running mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from smskd.batch import Batch
from smskd.blame import blamed
from smskd.features.signals import Signals
from smskd.features.taps import TappedModel
from smskd.methods import Method, Progress
from smskd.objective import Objective


class TrainStep(nn.Module):
    """Student and objective as one module, so that an engine wraps all that learns at once.

    Attributes:
        run_student: what runs the student: it itself, or for a while a compiled form of it.
        mean: a running mean of the student, and of the methods that fold into it. Their copies
            were made together, so those of the methods fold into that of the student.

    Args:
        tapped: the student.
        objective: the stage's losses.
        ema_decay: share that a running mean of the student keeps at each step; None keeps none.
    """

    def __init__(self, tapped: TappedModel, objective: Objective, ema_decay: float | None) -> None:
        super().__init__()
        self.student = tapped.model
        self.objective = objective
        self.mean: AveragedModel | None = None
        if ema_decay is not None:
            mean_of = get_ema_multi_avg_fn(ema_decay)  # type: ignore[no-untyped-call]
            self.mean = AveragedModel(self._averaged(), multi_avg_fn=mean_of)
            self.mean.requires_grad_(False)
        self.run_student: Callable[[Tensor], Signals] = tapped

    @property
    def handed_on(self) -> nn.Module:
        """The network that the stage hands on: the student, or its running mean."""
        return self.student if self.mean is None else cast(nn.ModuleList, self.mean.module)[0]

    def forward(
        self, batch: Batch, teacher: Signals | None, reference: Signals | None, progress: Progress
    ) -> dict[str, Tensor]:
        shape, stage = tuple(batch.images.shape), self.objective.stage.name
        with blamed(self.student, f"training in stage {stage}, on images of shape {shape}"):
            signals = self.run_student(batch.images)
        return cast(dict[str, Tensor], self.objective(signals, batch, teacher, reference, progress))

    def after_step(self) -> None:
        """Take the weights that an optimizer step left into the running mean."""
        if self.mean is not None:
            self.mean.update_parameters(self._averaged())

    def after_epoch(self) -> None:
        """Tell every method that an epoch is over, in the running mean too."""
        self.objective.after_epoch()
        if self.mean is not None:
            _student, *folding = cast(nn.ModuleList, self.mean.module)
            for method in folding:
                cast(Method, method).after_epoch()

    def _averaged(self) -> nn.ModuleList:
        # Not kept: as a submodule it would be saved a second time.
        return nn.ModuleList([self.student, *self.objective.folding])
