"""A search from recipe to front: trials are asked for, carried out, and told to all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from foundation.errors import CompressError
from pipeline.preflight.labels import check_comparable
from pipeline.preflight.names import check_names
from pipeline.preflight.trust import check_code
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.search import SearchRecipe
from pipeline.run_folder.folder import DEFAULT_ROOT
from pipeline.search.checks import check_bundles, check_code_in, check_host
from pipeline.search.database import require_optuna
from pipeline.search.folder import SearchFolder, settings_of, start_search
from pipeline.search.limits import PointLimit, parse_all
from pipeline.search.points import FINISHED, TrialPoint, read_note
from pipeline.search.progress import SearchDisplay, search_display
from pipeline.search.record import SearchRecord, record_of, write_record
from pipeline.search.space import RecipeMaker, SearchSpace, check_space, space_of
from pipeline.search.storage import AskedTrial, KnownTrial, SearchStudy
from pipeline.search.task import TrialTask
from pipeline.shown.console import progress_console, remarks_on
from pipeline.study.crew import Crew, Failure, Workplace, error_for
from pipeline.study.processes import Processes

# How often others are asked after while there is nothing to do here.
_LOOK_EVERY_S = 1.0


def search(
    file: RecipeFile, source: Path, overrides: Mapping[str, Any], path: Path | None
) -> tuple[SearchFolder, SearchRecord]:
    """Try points until there are as many as were asked for, or go on with that.

    Args:
        file: the recipe.
        source: the file that it was read from.
        overrides: what the command line laid over it, by place.
        path: the search's folder; None takes runs/NAME.

    Returns:
        The folder, and what was found.

    Raises:
        RecipeError, UnknownNameError: when the recipe, or one of a trial, cannot be.
        UsageError: when Optuna is not installed, or the host is none of the target's kind.
        UntrustedCodeError: when nobody said yes to code that a file names.
        RunMismatchError: when the folder holds something else.
        HostError: when the database or the host does not answer.
        CompressError: when every trial failed, as the first did.
    """
    settings = settings_of(file.recipe)
    require_optuna()
    path = path or DEFAULT_ROOT / file.recipe.name
    console, maker = progress_console(), RecipeMaker(source, overrides)
    drawn_from = space_of(file, settings)
    check_code(file, path, remarks_on(console))
    check_code_in(drawn_from, file, path, remarks_on(console))
    check_names(file)
    check_comparable(file, "compress search")
    limits = parse_all(settings.limits, file.where("search", "limits"))
    space = check_space(file, drawn_from, maker)
    check_bundles(file, space, maker)
    check_host(file.recipe)
    folder, identity = start_search(path, file.recipe)
    study = SearchStudy(identity, folder, space, settings)
    try:
        with search_display(console, settings.trials, settings.objectives) as display:
            _say_size(space, settings, display)
            place = Processes(settings.jobs, settings.threads)
            crew = _SearchCrew(
                study,
                folder,
                maker=maker,
                space=space,
                settings=settings,
                limits=limits,
                workplace=place,
                display=display,
            )
            crew.carry_out()
        record = crew.keep_front()
    finally:
        study.close()
    if not record.points:
        raise _nothing_found(record, crew.failures)
    return folder, record


def _say_size(space: SearchSpace, settings: SearchRecipe, display: SearchDisplay) -> None:
    if space.size is not None and space.size < settings.trials:
        display.tasks = space.size
        display.noted(
            f"note: the space has {space.size} points, fewer than the {settings.trials} trials; "
            "each is tried once"
        )


class _SearchCrew(Crew[TrialTask]):
    """Trials under way in this process; which come next, the storage knows."""

    def __init__(
        self,
        study: SearchStudy,
        folder: SearchFolder,
        *,
        maker: RecipeMaker,
        space: SearchSpace,
        settings: SearchRecipe,
        limits: list[PointLimit],
        workplace: Workplace[TrialTask],
        display: SearchDisplay,
    ) -> None:
        super().__init__(workplace, display, settings.retries)
        self.study, self.folder, self.maker, self.space = study, folder, maker, space
        self.settings, self.limits, self.display = settings, tuple(limits), display
        self._looked_at = float("-inf")
        self._waits_for: set[int] = set()

    def begin_what_can(self) -> None:
        """Ask for points while there is room; now and then, where there were none."""
        while (
            len(self.under_way) < self.settings.jobs
            and time.monotonic() - self._looked_at >= _LOOK_EVERY_S
        ):
            asked = self.study.ask()
            if asked is None:
                self._looked_at = time.monotonic()
                return
            self._begin(asked)

    def carry_out(self) -> None:
        """Carry out trials until all are done, those of other processes too: one that is lost there
        is begun again here."""
        try:
            while True:
                self.begin_what_can()
                if self.under_way:
                    for news in self.workplace.news():
                        self.take(news)
                elif self._others_are_done():
                    return
                else:
                    time.sleep(_LOOK_EVERY_S)
        finally:
            self.workplace.close()
            for task in self.under_way.values():
                self.study.give_back(AskedTrial(task.number, task.params, task.key))

    def end(self, task: TrialTask, failure: Failure | None) -> None:
        """Tell all who take part what came of a trial, and keep the front as it is now."""
        super().end(task, failure)
        asked = AskedTrial(task.number, task.params, task.key)
        counts = self.study.fail(asked, failure.message) if failure else self._told(task, asked)
        if not counts:
            self.display.noted(
                f"{task.name}: another process has it now, for this one was not heard of for long"
            )
        self.keep_front()
        self._looked_at = float("-inf")

    def keep_front(self) -> SearchRecord:
        """Keep what all trials came to so far."""
        with self.folder.alone("front"):
            record = self._record(self.study.known())
            write_record(self.folder, record)
        return record

    def _told(self, task: TrialTask, asked: AskedTrial) -> bool:
        try:
            note = read_note(self.folder.trial(task.number).path)
        except CompressError as error:
            self.display.ended(task, Failure(task, str(error), error.exit_code))
            return self.study.fail(asked, str(error))
        if note.state != FINISHED or note.point is None:
            reason = note.reason or "it was stopped"
            self.display.stopped(task, reason)
            return self.study.stop(asked, reason)
        counts = self.study.finish(asked, note.point)
        self.display.measured(task, note.point, self._status(note.point))
        return counts

    def _status(self, point: TrialPoint) -> str:
        placed = {one.trial: one.status for one in self._record(self.study.known()).points}
        return placed.get(point.trial, "done")

    def _record(self, trials: list[KnownTrial]) -> SearchRecord:
        return record_of(self.folder, trials, self.settings.objectives, self.settings.trials)

    def _begin(self, asked: AskedTrial) -> None:
        changes = self.space.changes(asked.params)
        try:
            file = self.maker.recipe_at(changes)
            check_names(file)
        except CompressError as error:
            drawn = ", ".join(f"{key} = {value}" for key, value in asked.params.items())
            self.study.fail(asked, f"no recipe can have {drawn}: {error}")
            self.display.noted(f"trial {asked.number}: no recipe can have {drawn}: {error}")
            return
        known = self.study.known()
        self.display.seen(sum(one.state not in ("running", "waiting") for one in known))
        self.begin(
            TrialTask(
                number=asked.number,
                params=dict(asked.params),
                file=replace(file, source=replace(file.source, overridden=())),
                search=self.folder,
                objectives=tuple(self.settings.objectives),
                limits=self.limits,
                points=tuple(one.point for one in known if one.point is not None),
                threads=self.settings.threads,
                key=asked.key,
            )
        )

    def _others_are_done(self) -> bool:
        self.study.fail_lost()
        under_way = [one for one in self.study.known() if one.state in ("running", "waiting")]
        numbers = {one.number for one in under_way}
        for number in sorted(numbers - self._waits_for):
            self.display.noted(
                f"trial {number}: under way in another process; begun again here if that is not "
                f"heard of for {self.settings.lost_after} s"
            )
        self._waits_for |= numbers
        return not under_way


def _nothing_found(record: SearchRecord, failures: list[Failure]) -> CompressError:
    """What to tell where no trial came to a point: as the first that failed, if one did."""
    counts = f"none of {len(record.left_out)} trials came to a bundle"
    if not failures:
        reasons = [one.reason for one in record.left_out if one.reason]
        return CompressError(f"{counts}: {reasons[0] if reasons else 'none was begun'}")
    first = failures[0]
    return error_for(first, f"{counts}: {first.task.name}: {first.message}")
