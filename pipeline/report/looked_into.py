"""What was looked at besides latencies: operators, and bundles at work for long."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy_targets.operator_profile import OperatorProfile
from deploy_targets.sustained import Sustained
from pipeline.report.operator_plots import operator_plots, untold_lines
from pipeline.report.sustained_plots import sustained_plots
from pipeline.shown.pages.plots import Plot


@dataclass(frozen=True)
class LookedIntoPlots:
    """Plots of both, and why one is not there.

    Attributes:
        operators, sustained: plots.
        untold: a line for each bundle whose runtime does not tell where its time goes.
    """

    operators: list[Plot] = field(default_factory=list)
    sustained: list[Plot] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    @property
    def plots(self) -> list[Plot]:
        """All of them."""
        return [*self.operators, *self.sustained]


def plots_of(profiles: list[OperatorProfile], series: list[Sustained]) -> LookedIntoPlots:
    """What is to be seen of them."""
    return LookedIntoPlots(
        operator_plots(profiles), sustained_plots(series), untold_lines(profiles)
    )
