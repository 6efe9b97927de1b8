"""What was looked at besides latencies: operators, and bundles at work for long."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy_targets.operator_profile import OperatorProfile, read_operator_profile
from deploy_targets.sustained import Sustained, read_sustained
from pipeline.gating.evidence import is_current
from pipeline.report.operator_plots import operator_plots, untold_lines
from pipeline.report.sustained_plots import sustained_plots
from pipeline.run_folder.folder import RunFolder
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


def read_profiles(run: RunFolder) -> list[OperatorProfile]:
    """Profiles of a run's bundles as they are now.

    Raises:
        CorruptFileError: when a file cannot be understood.
    """
    profiles = [read_operator_profile(path) for path in run.operator_paths()]
    return [profile for profile in profiles if is_current(run, profile.bundle)]


def read_series(run: RunFolder) -> list[Sustained]:
    """Series under sustained load of a run's bundles as they are now; errors as above."""
    series = [read_sustained(path) for path in run.sustained_paths()]
    return [one for one in series if is_current(run, one.bundle)]


def plots_of(profiles: list[OperatorProfile], series: list[Sustained]) -> LookedIntoPlots:
    """What is to be seen of them."""
    return LookedIntoPlots(
        operator_plots(profiles), sustained_plots(series), untold_lines(profiles)
    )
