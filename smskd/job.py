"""What one stage's training is given, and what its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foundation.files import sha256_of
from smskd.batch import Batches
from smskd.checkpoints.files import content_sha256
from smskd.curve import Curve, curves_of
from smskd.earlier import EarlierMethods
from smskd.engine import Engine
from smskd.evaluation import JudgingMetric
from smskd.features.taps import TappedModel
from smskd.fine_tuning.phase import TuningPhase
from smskd.listening import Listener
from smskd.objective import spelled_out
from smskd.pair import Pair
from smskd.provenance import known_by
from smskd.stage import Stage
from smskd.teaching.teacher_views import TeacherViews


@dataclass
class StageJob:
    """All that one stage's training needs.

    Attributes:
        stage: what to do.
        index: place in the sequence, from 1; decides what is drawn at random.
        student: the network that learns, with its taps; changed in place.
        train: batches; its `set_epoch(epoch)` is called before each epoch.
        folder: where the stage keeps its files.
        pair: student and teacher; None for plain training.
        reference: the frozen student of the stage before.
        validation: batches for the accuracy after each epoch.
        agreement: batches whose labels are the teacher's answers: how often the student gives the
            same one is told after each epoch.
        first_epoch: epochs that earlier stages took; `set_epoch` counts over the whole sequence,
            so that no stage sees the order and the augmentation of another.
        seed: the run's seed.
        views: what the teacher said about fixed views of the samples, if it was kept.
        beginning: what the student that the first stage is given is known by.
        curve: its learning rate; None takes that of the stage by itself.
        continues: what the stage before left for one on the same schedule; None where this one has
            its own.
        earlier: the methods of stages before that it has.
        continued: whether the next stage goes on on the same schedule.
        metric: what the student is judged by beside top-1 after each epoch; a stage that keeps its
            best goes by the first of its values.
        phase: which parts of the student learn, and when the training is over; None trains all of
            it for all epochs.
        notes: JSON-able facts that the file of its weights carries.
    """

    stage: Stage
    index: int
    student: TappedModel
    train: Batches
    folder: Path
    pair: Pair | None = None
    reference: TappedModel | None = None
    validation: Batches | None = None
    agreement: Batches | None = None
    validate_every: int = 1
    first_epoch: int = 0
    seed: int = 0
    engine: Engine = field(default_factory=Engine)
    listener: Listener = field(default_factory=Listener)
    views: TeacherViews | None = None
    beginning: str | None = None
    curve: Curve | None = None
    continues: Path | None = None
    earlier: EarlierMethods = field(default_factory=EarlierMethods)
    continued: bool = False
    metric: JudgingMetric | None = None
    phase: TuningPhase | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rates(self) -> Curve:
        """The stage's learning rate."""
        return self.curve or curves_of([self.stage])[0]

    @property
    def name(self) -> str:
        """What the training is called."""
        return self.stage.name if self.phase is None else self.phase.name


def fingerprint(job: StageJob) -> str:
    """What the stage's result depends on; work that lies in its folder is gone on with if equal.

    The first stage's student is left out, for a caller may draw it anew before each call, and
    `beginning` stands for it; but not where it is quantised, for then it was trained.
    """
    settings = [spelled_out(job.stage).as_dict(), job.index, job.seed, job.student.taps]
    trained = job.index > 1 or job.stage.quantized
    start = content_sha256(job.student.model.state_dict()) if trained else None
    teacher = content_sha256(job.pair.teacher.model.state_dict()) if job.pair else None
    taught = [start, teacher, job.pair.teacher.taps if job.pair else None]
    views = job.views.facts if job.views else None
    data = [job.beginning, known_by(job.train), known_by(job.validation)]
    if job.agreement is not None:
        data.append(known_by(job.agreement))
    gone_on_from = sha256_of(job.continues) if job.continues else None
    schedule = [asdict(job.rates), gone_on_from, job.continued]
    inputs = [settings, taught, views, data, schedule, job.earlier.facts()]
    if job.metric is not None and job.stage.keep == "best":
        inputs.append(job.metric.identity)
    if job.phase is not None:
        inputs.append([job.phase.as_dict()])
    depends_on = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(depends_on.encode()).hexdigest()
