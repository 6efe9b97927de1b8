"""The search as Optuna keeps it: which points are asked for, by whom, and what they came to.

Several processes, on several machines, share one study in one database. Each tells now and then
that it is alive; a trial whose process was not heard of for long is marked as failed and begun once
more, by whoever is next. Imported only by a search that runs: Optuna is not everybody's.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from foundation.records import as_dict, build
from pipeline.recipe.sections.search import SearchRecipe
from pipeline.search.database import answering, beats_every, opened_storage, require_optuna
from pipeline.search.folder import SearchFolder, SearchIdentity
from pipeline.search.limits import HIGHER_IS_BETTER
from pipeline.search.points import TrialPoint
from pipeline.search.space import SearchAxis, SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

_POINT, _REASON = "point", "reason"


@dataclass(frozen=True)
class AskedTrial:
    """A point that this process is to try.

    Attributes:
        number: of the trial; one that is begun again keeps the number of the first time.
        params: what was drawn, by key.
        key: by which the storage knows it.
    """

    number: int
    params: Mapping[str, Any]
    key: int


@dataclass(frozen=True)
class KnownTrial:
    """A trial as the storage has it.

    Attributes:
        number: as `AskedTrial`.
        params: what was drawn, by key.
        state: "waiting", "running", "finished", "hopeless" or "failed".
        reason: why it was stopped, or failed.
        point: of one that is finished.
    """

    number: int
    params: Mapping[str, Any]
    state: str
    reason: str | None
    point: TrialPoint | None


class SearchStudy:
    """A search's trials in their storage.

    Args:
        identity: where they are kept, under which name.
        folder: of the search.
        space: what varies.
        settings: objectives, seed, and how many.

    Raises:
        UsageError: when Optuna, or what it needs for that database, is not installed.
        HostError: when the database does not answer.
    """

    def __init__(
        self,
        identity: SearchIdentity,
        folder: SearchFolder,
        space: SearchSpace,
        settings: SearchRecipe,
    ) -> None:
        self._optuna = require_optuna()
        self._url, self._folder = identity.storage, folder
        self._settings, self._space = settings, space
        self._distributions = {axis.key: self._distribution(axis) for axis in space.axes}
        with self._answering(), folder.alone("storage"):
            again = self._again(settings.retries)
            self._storage = opened_storage(self._url, settings.lost_after, again)
            self._study = self._joined(identity.id)
        self._alive: set[int] = set()
        self._closing = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()

    def ask(self) -> AskedTrial | None:
        """The next point to try; None where all were asked for.

        Raises:
            HostError: when the database does not answer.
        """
        with self._answering(), self._folder.alone("asking"):
            self._fail_lost()
            trials = self._trials()
            is_waiting = any(self._state(trial) == "waiting" for trial in trials)
            if not is_waiting and (
                len(trials) >= self._settings.trials or self._is_exhausted(trials)
            ):
                return None
            key = self._asked()
            trial = self._storage.get_trial(key)
        self._alive.add(key)
        return AskedTrial(_first_number(trial), trial.params, key)

    def finish(self, asked: AskedTrial, point: TrialPoint) -> bool:
        """Keep what a trial came to; False where it was given to another process meanwhile."""
        figures = [point.figure(name) for name in self._settings.objectives]
        values = [figure.value for figure in figures if figure is not None]
        return self._tell(asked, "COMPLETE", values, **{_POINT: as_dict(point)})

    def stop(self, asked: AskedTrial, reason: str) -> bool:
        """Keep that a trial was stopped early; else as `finish`."""
        return self._tell(asked, "PRUNED", None, **{_REASON: reason})

    def fail(self, asked: AskedTrial, reason: str) -> bool:
        """Keep that a trial failed; else as `finish`."""
        return self._tell(asked, "FAIL", None, **{_REASON: reason})

    def give_back(self, asked: AskedTrial) -> None:
        """Let another process go on with a trial that this one leaves."""
        states = self._optuna.trial.TrialState
        self._alive.discard(asked.key)
        with self._answering(), self._folder.alone("asking"), suppress(self._finished_error()):
            if self._storage.set_trial_state_values(asked.key, state=states.FAIL):
                self._again(None)(self._study, self._storage.get_trial(asked.key))

    def known(self) -> list[KnownTrial]:
        """All trials that count, by number; one that was begun again counts once.

        Raises:
            HostError: when the database does not answer.
        """
        with self._answering():
            trials = self._trials()
        return sorted(map(self._known, trials), key=lambda trial: trial.number)

    def fail_lost(self) -> None:
        """Let trials be begun again whose process was not heard of for long."""
        with self._answering(), self._folder.alone("asking"):
            self._fail_lost()

    def close(self) -> None:
        """Tell no more that this process is alive."""
        self._closing.set()
        self._beating.join()

    def _asked(self) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a heartbeat without `optimize`: ours beats
            return self._study.ask(self._distributions)._trial_id

    def _tell(
        self, asked: AskedTrial, state: str, values: list[float] | None, **facts: Any
    ) -> bool:
        self._alive.discard(asked.key)
        try:
            with self._answering():
                for name, fact in facts.items():
                    self._storage.set_trial_user_attr(asked.key, name, fact)
                self._storage.set_trial_state_values(
                    asked.key, state=self._optuna.trial.TrialState[state], values=values
                )
        except self._finished_error():
            return False
        return True

    def _fail_lost(self) -> None:
        self._optuna.storages.fail_stale_trials(self._study)
        # Of a process that was killed between making a trial and its first sign of life.
        latest = datetime.now() - timedelta(seconds=self._settings.lost_after)
        failed = self._optuna.trial.TrialState.FAIL
        for trial in self._study.get_trials(deepcopy=False):
            begun = trial.datetime_start
            is_empty = trial.state.name == "RUNNING" and not trial.params
            if is_empty and begun is not None and begun < latest:
                with suppress(self._finished_error()):
                    self._storage.set_trial_state_values(trial._trial_id, state=failed)

    def _trials(self) -> list[FrozenTrial]:
        """Those that count: not those that were begun again, nor those that never had a point."""
        trials = self._study.get_trials(deepcopy=False)
        again = {n for trial in trials for n in trial.system_attrs.get("retry_history", [])}
        return [
            trial
            for trial in trials
            if trial.number not in again and (trial.params or trial.state.name != "FAIL")
        ]

    def _is_exhausted(self, trials: Sequence[FrozenTrial]) -> bool:
        size = self._space.size
        return size is not None and len({str(sorted(t.params.items())) for t in trials}) >= size

    def _known(self, trial: FrozenTrial) -> KnownTrial:
        point = trial.user_attrs.get(_POINT)
        state = self._state(trial)
        return KnownTrial(
            number=_first_number(trial),
            params=trial.params,
            state=state,
            reason=trial.user_attrs.get(_REASON) or (_LOST if state == "failed" else None),
            point=None if point is None or state != "finished" else build(TrialPoint, point),
        )

    def _state(self, trial: FrozenTrial) -> str:
        return _STATES[trial.state.name]

    def _again(self, most: int | None) -> Any:
        return self._optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=most)

    def _joined(self, name: str) -> Study:
        from pipeline.search.sampler import PointSampler  # noqa: PLC0415 - needs Optuna

        directions = [
            "maximize" if objective in HIGHER_IS_BETTER else "minimize"
            for objective in self._settings.objectives
        ]
        return self._optuna.create_study(  # type: ignore[no-any-return]
            storage=self._storage,
            sampler=PointSampler(self._settings.seed, self._distributions),
            study_name=name,
            directions=directions,
            load_if_exists=True,
        )

    def _distribution(self, axis: SearchAxis) -> BaseDistribution:
        kinds = self._optuna.distributions
        if axis.choices is not None:
            return kinds.CategoricalDistribution(tuple(axis.choices))  # type: ignore[no-any-return]
        if axis.is_whole:
            step = int(axis.step or 1)
            return kinds.IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=step)  # type: ignore[no-any-return]
        return kinds.FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)  # type: ignore[no-any-return]

    def _beat(self) -> None:
        """In a thread: tell that the trials of this process are alive."""
        while not self._closing.wait(beats_every(self._settings.lost_after)):
            for key in list(self._alive):
                try:
                    self._storage.record_heartbeat(key)
                except Exception as error:  # the database may come back before it is too late
                    logger.warning("trial %d: no sign of life could be kept: %s", key, error)

    def _answering(self) -> AbstractContextManager[None]:
        return answering(self._url)

    def _finished_error(self) -> type[Exception]:
        found: type[Exception] = self._optuna.exceptions.UpdateFinishedTrialError
        return found


_LOST = "its process was not heard of any more, twice"
_STATES = {
    "WAITING": "waiting",
    "RUNNING": "running",
    "COMPLETE": "finished",
    "PRUNED": "hopeless",
    "FAIL": "failed",
}


def _first_number(trial: FrozenTrial) -> int:
    """The number that it had when it was begun for the first time."""
    history: Sequence[int] = trial.system_attrs.get("retry_history", [])
    return history[0] if history else trial.number
