"""Draws the points of a search: Optuna's multi-objective TPE, never the same point twice.

Imported only where Optuna is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from smskd.engine import derive_seed

_RANDOM_FIRST = 8
_MOST_DRAWS = 1000


class PointSampler(BaseSampler):
    """A sampler whose draws depend on the seed, the trial's number and what is known by then, so
    that processes that share a study do not draw alike.

    Args:
        seed: of the search.
        space: distributions by key; every trial has all of them.
    """

    def __init__(self, seed: int, space: Mapping[str, BaseDistribution]) -> None:
        self._seed, self._space = seed, dict(space)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Its first sign of life: without any, nobody would notice that its process is gone."""
        storage: Any = study._storage
        storage.record_heartbeat(trial._trial_id)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All of it that varies."""
        del study, trial
        return {name: one for name, one in self._space.items() if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A whole point: TPE's, or a random one where it knows too little or draws an old one."""
        seed = derive_seed(self._seed, "point", trial.number) % 2**32
        random = RandomSampler(seed=seed)
        drawn = _tpe(seed).sample_relative(study, trial, search_space)
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        seen = [{name: t.params.get(name) for name in search_space} for t in others]
        for _ in range(_MOST_DRAWS):
            if drawn and drawn not in seen:
                return drawn
            drawn = {
                name: random.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        return drawn

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A single value; every key is drawn with all others, so nobody asks."""
        seed = derive_seed(self._seed, param_name, trial.number) % 2**32
        return RandomSampler(seed=seed).sample_independent(
            study, trial, param_name, param_distribution
        )


def _tpe(seed: int) -> TPESampler:
    return TPESampler(seed=seed, n_startup_trials=_RANDOM_FIRST, multivariate=True)
