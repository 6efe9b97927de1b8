"""What of a run was looked into besides latencies, read from its folder."""

from __future__ import annotations

from deploy_targets.operator_profile import OperatorProfile, read_operator_profile
from deploy_targets.sustained import Sustained, read_sustained
from pipeline.gating.evidence import is_current
from pipeline.run_folder.folder import RunFolder


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
