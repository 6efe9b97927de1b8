"""FitNet: the student's features, through a learnt regressor, match the teacher's."""

from __future__ import annotations

from torch import Tensor, nn

from smskd.batch import Batch
from smskd.features.signals import Signals
from smskd.methods import METHODS, Progress
from smskd.methods._features import FeatureMethod, connector, to_coarser
from smskd.pair import Pair
from smskd.precision import full_precision


def fitnet_loss(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of a hint: shape (N,).

    Romero et al., "FitNets: Hints for Thin Deep Nets" (2015), equation 3.

    Args:
        regressed: the student's feature in the teacher's channels, shape (N, C, h, w).
        teacher: the teacher's feature, shape (N, C, H, W); the finer of the two is averaged
            down to the coarser one's size.
    """
    student_map, teacher_map = to_coarser(full_precision(regressed), full_precision(teacher))
    return (student_map - teacher_map).square().flatten(1).mean(1)


@METHODS.register("fitnet")
class FitNet(FeatureMethod):
    """Hints at every tap pair, each through its own 1×1 convolution with batch-norm."""

    paper = "Romero et al. 2015, arXiv 1412.6550"
    formula = "Σ_taps mean((r(s) − t)²), r a learnt 1×1 convolution"
    holds = True
    learns_what_it_holds = True
    default_weight = 100.0

    def __init__(self) -> None:
        super().__init__()
        self.regressors = nn.ModuleList()

    def build(self, pair: Pair) -> None:
        super().build(pair)
        self.regressors.extend(
            connector(student_shape[0], teacher_shape[0])
            for student_shape, teacher_shape in pair.feature_shapes
        )

    def tap_loss(self, place: int, student: Tensor, teacher: Tensor, progress: Progress) -> Tensor:
        regressed: Tensor = self.regressors[place](student)
        return fitnet_loss(regressed, teacher)

    def held_losses(
        self, student: Signals, reference: Signals, batch: Batch, progress: Progress
    ) -> Tensor:
        """Mean squared difference of the two regressed features, summed over the taps: (N,)."""
        regressed = tuple(
            regressor(full_precision(feature))
            for regressor, feature in zip(self.regressors, reference.features, strict=True)
        )
        return self.spot_losses(student, reference._replace(features=regressed), progress).sum(0)
