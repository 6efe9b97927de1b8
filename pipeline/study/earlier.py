"""Results that were had before: which of them count, and how a results file comes to hold them.

The results of a seed share one teacher, and a teacher that is trained again on another machine
never has the same bits. So a seed whose results are all in the file, by one teacher, is done,
wherever that teacher is. Of another seed those count whose teacher is the one in this study's
folder; the others are trained anew, and give way in the file one by one as the new ones come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from foundation.errors import CompressError, RunMismatchError
from foundation.files import user_path
from foundation.records import as_dict
from pipeline.data.class_order import class_order
from pipeline.data.facts import FACTS, DataFacts, read_facts
from pipeline.models import teacher_identity
from pipeline.recipe.code import code_identity
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.binding import first_difference, teacher_values
from pipeline.study.crew import Failure, Watcher
from pipeline.study.folder import ArmResult, StudyFolder, arm_values, fingerprint_of, write_result
from pipeline.study.results_file import KnownResults, ResultLine, ResultsFile, line_of
from pipeline.study.subject import Subject, TaughtBy, subject_in, teacher_in
from pipeline.study.tasks import Task
from pipeline.training.foreign_models import shown_name
from smskd.listening import Listener

Say = Callable[[str], None]


def known_results(recipe: Recipe) -> tuple[ResultsFile | None, KnownResults | None]:
    """The results file that a recipe names, and what is in it; None where there is none.

    Raises:
        CorruptFileError: when it is none of ours.
        RunMismatchError: when its results are of other networks or of another dataset.
    """
    if recipe.study.results is None:
        return None, None
    file = ResultsFile(user_path(recipe.study.results))
    known = file.read()
    if known is not None:
        networks, data = known.subject.networks, known.subject.data
        there = {"data.name": data.name.partition(":")[0]}
        here = {"data.name": recipe.data.name.partition(":")[0]}
        there |= {"teacher.model": networks.teacher.model, "student.model": networks.student.model}
        here |= {
            "teacher.model": shown_name(recipe.teacher.model),
            "student.model": recipe.student.model,
        }
        _check_same(file, there, here)
    return file, known


def portable_fingerprint(task: Task, facts: DataFacts) -> str:
    """What an arm's result depends on but its teacher's weights, in one word that is the same on
    every machine, wherever data and given weights lie on it.

    Args:
        task: the arm, with its seed.
        facts: what the data is.
    """
    assert task.arm is not None
    recipe = task.file.recipe
    values = arm_values(recipe, task.arm, task.seed, facts)
    order = recipe.data.classes and class_order(recipe.data.classes).identity
    own = {
        "data": {**values["data"], "cache": recipe.data.cache is not None, "classes": order},
        "student": {**values["student"], "weights": values["weights"]},
        "teacher": {
            **teacher_values(recipe)["teacher"],
            "seed": task.teacher_seed,
            "model": shown_name(recipe.teacher.model),
            "weights": teacher_identity(recipe.teacher),
            "code": code_identity(recipe.teacher.model),
        },
    }
    return fingerprint_of({**values, **own})


class EarlierResults:
    """What of a study is done in a results file, what remains, and how its results are kept there.

    Args:
        file: the results file; None keeps none.
        known: what is in it.
        study: the study's folder.
        tasks: all of the study: every arm that is asked for with every seed, and their teachers.
        say: shows a person a line.

    Attributes:
        settled: arms of seeds that are whole in the file, with their results.
        remaining: the other tasks, in their order.

    Raises:
        RunMismatchError: when the file's results are of other data than the study's.
    """

    def __init__(
        self,
        file: ResultsFile | None,
        known: KnownResults | None,
        study: StudyFolder,
        tasks: Sequence[Task],
        say: Say,
    ) -> None:
        self.file, self.known, self.study, self.say = file, known, study, say
        if known is not None and (study.data / FACTS).is_file():
            self._check_data(known, read_facts(study.data))
        lines = self._matching(tasks) if known is not None else {}
        self.settled = list(_whole_seeds(tasks, lines))
        done = {task.name for task, _ in self.settled}
        arms = [task for task in tasks if task.arm and task.name not in done]
        needed = {task.teacher_seed for task in arms}
        self.remaining = [
            task for task in tasks if (task in arms if task.arm else task.seed in needed)
        ]
        self._lines = {name: line for name, line in lines.items() if name not in done}
        self._subject_of = cache(lambda seed: subject_in(study, tasks[0].file.recipe, seed))

    def watched(self, watcher: Watcher[Task]) -> Watcher[Task]:
        """A watcher of the remaining tasks that takes over and keeps results, and tells another."""
        return watcher if self.file is None else _Keeper(self, watcher)

    def take_over(self, teacher: Task) -> None:
        """Let those results count that a teacher's arms have in the file, once it is trained here.

        Raises:
            RunMismatchError: when they are of other data, or of networks of another size.
        """
        if self.known is None:
            return
        assert self.file is not None
        self._check_data(self.known, read_facts(self.study.data))
        networks = self._subject_of(teacher.seed).networks
        _check_same(self.file, self.known.subject.networks.as_dict(), networks.as_dict())
        digest = teacher_in(self.study, teacher.seed).sha256
        others: dict[int, list[str]] = {}
        for task in self.remaining:
            line = self._lines.get(task.name)
            if line is None or task.teacher_seed != teacher.seed:
                continue
            if line.teacher.sha256 != digest:
                others.setdefault(task.seed, []).append(line.arm)
            elif not _has_result(task):
                write_result(task.folder, line.result(task.fingerprint()))
        for seed, arms in others.items():
            self.say(
                f"seed {seed}: the results of {', '.join(arms)} in {self.file.path} are of another "
                "teacher than the one here; they stay there until this one's take their places"
            )

    def keep(self, task: Task) -> None:
        """Put the result of an arm that is done into the file."""
        assert self.file is not None
        result = task.result()
        assert result is not None
        subject = self._subject_of(task.teacher_seed)
        fingerprint = portable_fingerprint(task, subject.data)
        line = line_of(result, fingerprint, teacher_in(self.study, task.teacher_seed))
        self.file.put(line, task.file.recipe.name, subject)

    def all_results(
        self, failed: set[str]
    ) -> tuple[list[ArmResult], dict[int, TaughtBy], Subject | None]:
        """Every result there is, who taught each seed's, and what the study is about.

        Args:
            failed: names of tasks that failed.
        """
        results = [line.result(line.fingerprint) for _, line in self.settled]
        teachers = {line.seed: line.teacher for _, line in self.settled}
        subject = self.known.subject if self.known is not None else None
        for task in self.remaining:
            result = None if task.name in failed else task.result()
            if result is not None:
                results.append(result)
                teachers[task.seed] = teacher_in(self.study, task.teacher_seed)
                subject = self._subject_of(task.teacher_seed)
        return sorted(results, key=lambda result: result.seed), teachers, subject

    def _matching(self, tasks: Sequence[Task]) -> dict[str, ResultLine]:
        """The lines of tasks that were asked for just so, by the tasks' names."""
        assert self.file is not None and self.known is not None
        data, found, others = self.known.subject.data, {}, []
        for task in tasks:
            line = self.known.lines.get((task.seed, task.arm.name)) if task.arm else None
            if line is None:
                continue
            if line.fingerprint == portable_fingerprint(task, data):
                found[task.name] = line
            else:
                others.append(task.name)
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            self.say(
                f"{self.file.path}: {others[0]}{more} were asked for otherwise; they stay there "
                "until the new results take their places"
            )
        return found

    def _check_data(self, known: KnownResults, here: DataFacts) -> None:
        assert self.file is not None
        # A dataset's folder may be called otherwise here.
        there = replace(known.subject.data, name=here.name)
        _check_same(self.file, {"data": as_dict(there)}, {"data": as_dict(here)})


class _Keeper:
    """Watches tasks: what is done goes into the results file before anybody is told."""

    def __init__(self, earlier: EarlierResults, inner: Watcher[Task]) -> None:
        self._earlier, self._inner = earlier, inner

    def started(self, task: Task) -> Listener:
        return self._inner.started(task)

    def interrupted(self, task: Task, why: str) -> None:
        self._inner.interrupted(task, why)

    def ended(self, task: Task, failure: Failure | None) -> None:
        if failure is None and task.arm is None:
            self._earlier.take_over(task)
        elif failure is None:
            self._earlier.keep(task)
        self._inner.ended(task, failure)


def _whole_seeds(
    tasks: Sequence[Task], lines: Mapping[str, ResultLine]
) -> Iterator[tuple[Task, ResultLine]]:
    """The arms, with their lines, of seeds all of whose arms are there by one teacher."""
    by_seed: dict[int, list[Task]] = {}
    for task in tasks:
        if task.arm is not None:
            by_seed.setdefault(task.seed, []).append(task)
    for arms in by_seed.values():
        found = [lines[task.name] for task in arms if task.name in lines]
        if len(found) == len(arms) and len({line.teacher.sha256 for line in found}) == 1:
            yield from zip(arms, found, strict=True)


def _has_result(task: Task) -> bool:
    try:
        return task.result() is not None
    except CompressError:  # a damaged one is told of when its turn comes
        return True


def _check_same(file: ResultsFile, there: dict[str, Any], here: dict[str, Any]) -> None:
    difference = first_difference(there, here)
    if difference:
        raise RunMismatchError(
            f"{file.path}: results of another study: {difference}; name another file with --results"
        )
