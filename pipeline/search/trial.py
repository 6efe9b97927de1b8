"""A trial, in a process of its own: an ordinary run, trained, exported and measured."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

from deploy_targets.device.messages import VALID
from deploy_targets.hosts.host_names import LOCAL
from deploy_targets.measurement import Measurement, read_measurement
from deploy_targets.targets import Target, load_target
from export.requests import BundleRequest, bundle_name
from foundation.bundle import open_bundle
from foundation.files import read_json
from pipeline.benching.bench import bench
from pipeline.data.facts import read_facts
from pipeline.exporting.export import export, requests_for
from pipeline.gating.metrics import Figure
from pipeline.gating.own_metric import read_values
from pipeline.metrics.judging import NamedMetric
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import VALIDATION_METRIC_VALUES, RunFolder, start_run
from pipeline.search.hopeless import HopelessTrial, costs_of, why_behind, why_hopeless
from pipeline.search.points import (
    FINISHED,
    HOPELESS,
    FirstStage,
    StudentCosts,
    TrialNote,
    TrialPoint,
    write_note,
)
from pipeline.search.reference import check_figures, figures_of, time_trial
from pipeline.search.sharing import (
    answers_of_bundle,
    kept_answers,
    shared_floats,
    shared_teacher,
    take_first_stages,
    take_teacher,
)
from pipeline.search.task import TrialTask
from pipeline.study.alone import alone_in
from pipeline.study.worker import Teller
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import distil, teach
from pipeline.training.students import new_student
from smskd.listening import Listener
from smskd.stage import stage_folder
from smskd.training.stage_files import METRICS

_NOW = "now"


def carry_out(task: TrialTask, teller: Teller) -> None:
    """Do a trial, or go on with it where it was stopped; what came of it is its note."""
    run = task.search.trial(task.number)
    with alone_in(run.path, task.name):
        run = start_run(run.path, task.file.recipe)
        try:
            point = _Road(task, run, teller).walk()
            note = TrialNote(state=FINISHED, point=point)
        except HopelessTrial as stopped:
            note = TrialNote(state=HOPELESS, reason=str(stopped))
        write_note(run.path, note)


class _Road:
    """What is known of a trial on its way."""

    def __init__(self, task: TrialTask, run: RunFolder, teller: Teller) -> None:
        self.task, self.run, self.teller = task, run, teller
        self.recipe: Recipe = task.file.recipe
        self.target: Target = load_target(self.recipe.export.targets[0])
        (self.request,) = requests_for(self.target, self.recipe.export)
        self.bundle = bundle_name("student", self.request)
        self.metric: NamedMetric | None = None

    def walk(self) -> TrialPoint:
        """All of it.

        Raises:
            HopelessTrial: when it is not worth going on.
        """
        data = TrainingData(self.task.file)
        self.metric = data.metric
        self.now("data: read and looked through")
        with self.run.locked():
            prepare(self.run, data)
            costs = self._costs()
            reason = why_hopeless(
                costs, self.request, self.target, self.task.limits, self.task.points
            )
            if reason:
                raise HopelessTrial(reason)
            self._train(data, costs)
            self._export()
            return self._measured(costs)

    def now(self, activity: str) -> None:
        """Tell what is being done."""
        self.teller.tell(_NOW, activity)

    def _costs(self) -> StudentCosts:
        facts = read_facts(self.run.data)
        student = new_student(self.recipe, facts)
        pruned_later = any(stage.prune is not None for stage in self.recipe.stages)
        threads = self.recipe.bench.threads or self.target.threads or self.target.cores or 1
        # What it weighs before it is pruned bounds nothing.
        limits = () if pruned_later else self.task.limits
        return costs_of(
            student, facts.preprocessing, self.request, self.target, limits=limits, threads=threads
        )

    def _train(self, data: TrainingData, costs: StudentCosts) -> None:
        self.now("teacher: looked for, or waited for")
        teacher = shared_teacher(self.task.search, self.task.file, _TeachersEpochs(self))
        take_teacher(self.run, teacher)
        teach(self.run, data, Listener())
        shared = take_first_stages(self.task.search, self.run, self.recipe)
        self.now(shared or "student: got ready")
        distil(self.run, data, _FirstStageWatch(self, costs))

    def _export(self) -> None:
        with shared_floats(self.task.search, self.run) as original_of:
            export(self.run, self.recipe.export, self.now, original_of, self.metric)

    def _measured(self, costs: StudentCosts) -> TrialPoint:
        bundle = open_bundle(self.run.bundles / self.bundle)
        teacher = kept_answers(self.task.search.teacher(self.recipe))
        answers = answers_of_bundle(self.run, bundle)
        host = self.recipe.bench.host
        self.now(f"measuring: waiting for {host}")
        # Two that measure at once on a host would measure each other.
        machine = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node() if host == LOCAL else host)
        with self.task.search.alone(f"measuring-{machine}"):
            measurement = self._bench()
            comparison, reference = time_trial(
                self.task.search,
                self.run,
                self.task.number,
                self.bundle,
                settings=self.recipe.bench,
                on_progress=self._measuring,
            )
        figures = figures_of(measurement, comparison, reference) | self._by_metric()
        check_figures(figures, self.task.objectives, measurement)
        validity = measurement.validity
        return TrialPoint(
            trial=self.task.number,
            folder=self.run.path.relative_to(self.task.search.path).as_posix(),
            bundle=self.bundle,
            manifest_sha256=bundle.manifest_sha256,
            params=dict(self.task.params),
            validation=answers,
            teacher=teacher,
            figures=figures,
            host=measurement.host.name,
            doubts=[] if validity.verdict == VALID else validity.reasons,
            format=self.request.format,
            precision=self.request.precision,
            costs=costs,
            first_stage=self.first_stage() if len(self.recipe.stages) > 1 else None,
        )

    def _by_metric(self) -> dict[str, Figure]:
        """What the recipe's metric says of the bundle on the validation images, where there is
        one."""
        if self.metric is None:
            return {}
        path = self.run.findings / self.bundle / VALIDATION_METRIC_VALUES
        values = read_values(path)
        score = values.score(values.first)
        return {"metric": Figure(score.value, score.low, score.high)}

    def _bench(self) -> Measurement:
        (path,) = bench(self.run, self.recipe.bench, self._measuring, self.now, [self.bundle])
        return read_measurement(path)

    def _measuring(self, bundle: str, facts: dict[str, Any]) -> None:
        number = f" {facts['number']} of {facts['of']}" if "number" in facts else ""
        self.now(f"measuring {bundle}: {facts.get('step', '')}{number}")

    def first_stage(self) -> FirstStage | None:
        """How far the student was after its first stage, as that left it."""
        stage = self.recipe.spelled_out().stages[0]
        path: Path = self.run.stages / stage_folder(1, stage) / METRICS
        history = read_json(path)["history"]
        top1, n = history[-1]["val_top1"], read_facts(self.run.data).counts["validation"]
        return None if top1 is None else FirstStage(stage.epochs, top1, n)

    def check_first_stage(self, costs: StudentCosts) -> None:
        """Stop the trial where another was surely better by then, and costs no more.

        Raises:
            HopelessTrial: when one was.
        """
        request: BundleRequest = self.request
        reached = self.first_stage()
        pruned_later = any(stage.prune is not None for stage in self.recipe.stages)
        # By another metric it may yet be the better one.
        by_metric = "metric" in self.task.objectives
        if reached is None or pruned_later or by_metric:
            return
        reason = why_behind(reached, costs, request, self.task.points)
        if reason:
            raise HopelessTrial(reason)


class _FirstStageWatch(Listener):
    """Passes on what training tells, and looks at the student between its first two stages."""

    def __init__(self, road: _Road, costs: StudentCosts) -> None:
        self._road, self._costs, self._done = road, costs, 0

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        if self._done == 1:
            self._road.check_first_stage(self._costs)
        self._road.teller.stage_started(name, epochs, done)

    def batch_done(self, batch: int, batches: int | None) -> None:
        self._road.teller.batch_done(batch, batches)

    def epoch_done(self, record: dict[str, Any]) -> None:
        self._road.teller.epoch_done(record)

    def stage_done(self, name: str, seconds: float) -> None:
        self._done += 1
        self._road.teller.stage_done(name, seconds)

    def views_started(self, views: int, done: int) -> None:
        self._road.teller.views_started(views, done)

    def view_done(self) -> None:
        self._road.teller.view_done()


class _TeachersEpochs(Listener):
    """Tells how far a teacher is, which is no stage of the student's."""

    def __init__(self, road: _Road) -> None:
        self._road, self._epochs = road, 0

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        del name
        self._epochs = epochs
        self._road.now(f"teacher: epoch {done}/{epochs}")

    def epoch_done(self, record: dict[str, Any]) -> None:
        self._road.now(f"teacher: epoch {record['epoch']}/{self._epochs}")
