"""The loop of one stage."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from foundation.errors import CorruptFileError, TrainingError, WeightsMismatchError
from smskd import Engine, Listener, Stage, distill, train_alone
from smskd.batch import Batch
from smskd.checkpoints.files import load_tensors, save_model
from smskd.distillation import pair_on
from smskd.features.signals import Signals
from smskd.job import StageJob
from smskd.methods import METHODS, Method, Pace, Progress
from smskd.objective import Objective
from smskd.training.loop import train_stage
from smskd.training.results import best_epoch
from smskd.training.stage_files import METHOD, METRICS, WEIGHTS
from smskd.training.train_step import TrainStep

Net = Callable[..., nn.Module]

CPU = Engine(accelerator="cpu")
RESUME, BEST = "resume.safetensors", "best.safetensors"


class StoppedError(Exception):
    """Training is stopped from outside."""


class StopIn(Listener):
    """Stops training after a batch of an epoch, and notes what it was told."""

    def __init__(self, epoch: int | None = None, batch: int = 1) -> None:
        self.at = (epoch, batch)
        self.epoch, self.batches, self.started = 1, 0, [("", -1)]

    def stage_started(self, name: str, epochs: int, done: int) -> None:
        self.started.append((name, done))
        self.epoch = done + 1

    def epoch_done(self, record: dict[str, Any]) -> None:
        self.epoch = record["epoch"] + 1

    def batch_done(self, batch: int, batches: int | None) -> None:
        self.batches += 1
        if (self.epoch, batch) == self.at:
            raise StoppedError


class Changed:
    """Batches that are changed in one epoch."""

    def __init__(self, data: Any, epoch: int, change: Callable[[Tensor], Tensor]) -> None:
        self.data, self.changed_epoch, self.change = data, epoch, change

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.data.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        spoilt = getattr(self, "epoch", None) == self.changed_epoch
        for images, labels in self.data:
            yield (self.change(images) if spoilt else images), labels


class Stream(torch.utils.data.IterableDataset[tuple[Tensor, Tensor]]):
    """Samples that nobody can count beforehand."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.data:
            yield from zip(images, labels, strict=True)


class Unsized:
    """Batches that nobody can count beforehand."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self.data


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def job_of(
    student: nn.Module, teacher: nn.Module, data: Any, stage: Stage, folder: Path, **more: Any
) -> StageJob:
    """A stage with a teacher, as `distill` sets it up."""
    data.numbered = True
    pair = pair_on(teacher, student, data)
    return StageJob(stage, 1, pair.student, data, folder, pair, engine=CPU, **more)


@pytest.mark.parametrize("name", METHODS.names())
def test_all_that_a_method_learns_is_trained_and_saved(
    name: str, net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    stage = Stage(name, epochs=2, lr=0.01, optimizer="adamw")
    with pytest.raises(StoppedError):
        train_stage(job_of(net(), teacher, data, stage, tmp_path, listener=StopIn(epoch=2)))
    kept, _ = load_tensors(tmp_path / RESUME)
    train_stage(job_of(net(), teacher, data, stage, tmp_path))

    job = job_of(net(), teacher, data, stage, tmp_path)
    objective = Objective(stage, job.pair)
    step = TrainStep(job.student, objective, None)
    moments = {key for key in kept if key.startswith("optimizer.") and key.endswith(".exp_avg")}
    assert len(moments) == len(list(step.parameters()))
    assert {f"step.{key}" for key in step.state_dict()} <= kept.keys()
    if not objective.state_dict():
        assert not (tmp_path / METHOD).exists()
        return
    learned, _ = load_tensors(tmp_path / METHOD)
    assert learned.keys() == objective.state_dict().keys()
    for key, _ in objective.named_parameters():
        assert not torch.equal(learned[key], kept[f"step.objective.{key}"]), f"{key} stood still"


# What SimKD writes into the student's classifier after an epoch is no step.
@pytest.mark.parametrize("name", [name for name in METHODS.names() if name != "simkd"])
def test_the_joint_gradient_of_student_and_method_is_clipped(
    name: str, net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    """With plain descent, one batch an epoch, a step is its rate times such a gradient."""
    data.batch_size = len(data.labels)
    limit, lr = 0.01, 0.5
    stage = Stage(
        name, epochs=2, lr=lr, momentum=0.0, weight_decay=0.0, schedule="constant",
        max_grad_norm=limit,
    )  # fmt: skip
    with pytest.raises(StoppedError):
        train_stage(job_of(net(), teacher, data, stage, tmp_path, listener=StopIn(epoch=2)))
    before, _ = load_tensors(tmp_path / RESUME)
    train_stage(job_of(net(), teacher, data, stage, tmp_path))
    after, _ = load_tensors(tmp_path / WEIGHTS)
    learned = load_tensors(tmp_path / METHOD)[0] if (tmp_path / METHOD).exists() else {}
    after = {f"student.{n}": t for n, t in after.items()} | {
        f"objective.{n}": t for n, t in learned.items()
    }
    job = job_of(net(), teacher, data, stage, tmp_path)
    step = TrainStep(job.student, Objective(stage, job.pair), None)
    paces = {id(p): pace for pace in step.objective.paces for p in pace.parameters}
    squares = {}
    for n, parameter in step.named_parameters():
        pace = paces.get(id(parameter), Pace([], 1.0, 0.0))
        start = before[f"step.{n}"].double()
        gradient = (start - after[n].double()) / (lr * pace.share(lr)) - pace.weight_decay * start
        squares[n] = gradient.square().sum().item()
    assert math.sqrt(sum(squares.values())) == pytest.approx(limit, rel=1e-3)
    if learned:
        assert sum(value for n, value in squares.items() if n.startswith("objective.")) > 0


def test_progress_counts_from_the_stages_own_start(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []

    class Probe(Method):
        family, paper, formula = "response", "none", "0"

        def forward(
            self, student: Signals, teacher: Signals, batch: Batch, progress: Progress
        ) -> Tensor:
            seen.append(progress)
            return student.logits.sum() * 0

    monkeypatch.setitem(METHODS._entries, "probe", Probe)
    stages = [Stage("probe", epochs=1), Stage("probe", epochs=2)]
    distill(teacher, net(), data, stages, tmp_path, engine=CPU)
    quarters = [0.0, 0.25, 0.5, 0.75]
    assert [p.epoch for p in seen] == quarters + quarters + [1 + q for q in quarters]
    assert [p.epochs for p in seen] == [1] * 4 + [2] * 8


def test_epochs_of_the_data_count_over_the_whole_sequence(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    stages = [Stage("kd", epochs=2), Stage("kd", epochs=1), Stage("kd", epochs=2)]
    distill(teacher, net(), data, stages, tmp_path, engine=CPU)
    assert data.epochs == [0, 1, 2, 3, 4]


def test_the_named_losses_sum_to_the_loss(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    stages = [Stage(name, epochs=2) for name in ("kd", "fitnet")]
    for metrics in distill(teacher, net(), data, stages, tmp_path, engine=CPU):
        for record in metrics["history"]:
            losses = dict(record["losses"])
            assert losses.pop("loss") == pytest.approx(sum(losses.values()), rel=1e-5)


def test_losses_are_means_over_images_and_not_over_batches(
    net: Net, data: Any, tmp_path: Path
) -> None:
    """20 images in batches of 8, 8 and 4; without dropout, batch-norm and steps, a plain mean."""
    data.images, data.labels = data.images[:20], data.labels[:20]
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    expected = nn.functional.cross_entropy(model(data.images), data.labels).item()
    metrics = train_alone(model, data, Stage(epochs=1, lr=1e-12), tmp_path, engine=CPU)
    assert metrics["history"][0]["losses"]["ce"] == pytest.approx(expected, rel=1e-5)


def test_training_learns_and_the_metrics_lie_in_the_folder(
    net: Net, data: Any, tmp_path: Path
) -> None:
    student = net()
    stage = Stage(epochs=15, lr=0.1)
    metrics = train_alone(student, data, stage, tmp_path, validation=data, engine=CPU)
    assert metrics["last"]["val_top1"] > 0.9
    assert metrics["history"][0]["val_top1"] < metrics["last"]["val_top1"]
    assert json.loads((tmp_path / METRICS).read_text()) == json.loads(json.dumps(metrics))
    assert same(load_tensors(tmp_path / WEIGHTS)[0], state(student))
    assert sorted(path.name for path in tmp_path.iterdir()) == [METRICS, WEIGHTS]


def test_the_rate_follows_the_schedule_batch_by_batch(net: Net, data: Any, tmp_path: Path) -> None:
    """A warm-up's first batch has rate 0: with one batch an epoch, nothing is learned in it."""
    data.batch_size = len(data.labels)
    student = net()
    before = {name: p.clone() for name, p in student.named_parameters()}
    stage = Stage(epochs=1, warmup_epochs=1.0)
    train_alone(student, data, stage, tmp_path / "one", engine=CPU)
    assert all(torch.equal(p, before[name]) for name, p in student.named_parameters())
    train_alone(student, data, Stage(epochs=1), tmp_path / "two", engine=CPU)
    assert not any(torch.equal(p, before[name]) for name, p in student.named_parameters())


@pytest.mark.parametrize(
    "wrap", [Unsized, lambda data: torch.utils.data.DataLoader(Stream(data), batch_size=8)]
)
def test_batches_that_cannot_be_counted_train_as_well(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path, wrap: Callable[[Any], Any]
) -> None:
    student = net()
    before = state(student)
    stages = [Stage("kd", epochs=1, warmup_epochs=1.0), Stage("rkd", epochs=2)]
    results = distill(teacher, student, wrap(data), stages, tmp_path, engine=CPU)
    assert [len(metrics["history"]) for metrics in results] == [1, 2]
    first, _ = load_tensors(tmp_path / "1-kd" / WEIGHTS)
    assert not torch.equal(first["head.weight"], before["head.weight"]), "all was warm-up at rate 0"


def test_batches_that_run_out_are_an_error(net: Net, data: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="stage labels: the training data gave no batch"):
        train_alone(net(), iter(list(data)), Stage(epochs=2), tmp_path, engine=CPU)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_loss_that_is_no_number_names_stage_and_epoch_and_saves_nothing_of_it(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path, clip: float | None
) -> None:
    spoilt = Changed(data, epoch=1, change=lambda images: images * math.nan)
    stage = Stage("kd", epochs=3, max_grad_norm=clip, keep="best")
    with pytest.raises(TrainingError, match=r"stage kd, epoch 2: .*lower `lr`") as caught:
        distill(teacher, net(), spoilt, [stage], tmp_path, validation=data, engine=CPU)
    assert "\n" not in str(caught.value)
    tensors, facts = load_tensors(tmp_path / "1-kd" / RESUME)
    assert facts["epoch"] == 1
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    best, _ = load_tensors(tmp_path / "1-kd" / BEST)
    assert all(tensor.isfinite().all() for tensor in best.values())
    assert not (tmp_path / "1-kd" / WEIGHTS).exists()


class RootAtZero(nn.Module):
    """Its loss is a number and its gradient is not."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(3))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3)).unsqueeze(1) + self.start.sqrt()


def test_a_weight_that_is_no_number_is_not_saved_either(data: Any, tmp_path: Path) -> None:
    data.batch_size = len(data.labels)
    with pytest.raises(TrainingError, match="stage labels, epoch 1: a loss or a weight"):
        train_alone(RootAtZero(), data, Stage(epochs=1), tmp_path, engine=CPU)
    assert not list(tmp_path.iterdir())


def test_a_validation_loss_that_is_no_number_is_met_at_once(
    net: Net, data: Any, tmp_path: Path
) -> None:
    """JSON knows no such number, and the end of the stage is a bad time to find out."""
    validation = [(data.images * math.nan, data.labels)]
    with pytest.raises(TrainingError, match=r"epoch 1: a loss .*validation nan"):
        train_alone(net(), data, Stage(epochs=2), tmp_path, validation=validation, engine=CPU)


def test_the_callers_random_numbers_stay_his_own(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    dataset = torch.utils.data.TensorDataset(data.images, data.labels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)
    before = torch.random.get_rng_state()
    distill(teacher, net(), loader, [Stage("fitnet", epochs=1)] * 2, tmp_path, engine=CPU)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_seed_decides_and_the_callers_random_numbers_do_not(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    """A shuffling loader and dropout draw from torch's numbers."""
    dataset = torch.utils.data.TensorDataset(data.images, data.labels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True)
    students = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        students.append(net())
        folder = tmp_path / str(number)
        stages = [Stage("fitnet", epochs=1)]
        distill(teacher, students[-1], loader, stages, folder, seed=seed, engine=CPU)
    assert same(state(students[0]), state(students[1]))
    assert not same(state(students[0]), state(students[2]))


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_epoch_that_is_kept_is_handed_on(
    net: Net, data: Any, tmp_path: Path, keep: str
) -> None:
    """The validation labels are wrong, so that the student grows worse by them as it learns."""
    wrong = [(images, (labels + 1) % 3) for images, labels in data]

    def train(epochs: int, keep: str, folder: str) -> tuple[nn.Module, dict[str, Any]]:
        student = net()
        stage = Stage(epochs=epochs, lr=0.1, schedule="constant", keep=keep)
        path = tmp_path / folder
        return student, train_alone(student, data, stage, path, validation=wrong, engine=CPU)

    student, metrics = train(6, keep, "whole")
    best, last = metrics["best"], metrics["last"]
    accuracies = [record["val_top1"] for record in metrics["history"]]
    assert best["val_top1"] == max(accuracies) > last["val_top1"]
    assert best["epoch"] == accuracies.index(max(accuracies)) + 1
    stopped, _ = train(best["epoch"] if keep == "best" else 6, "last", "stopped")
    assert same(state(student), state(stopped))
    assert same(load_tensors(tmp_path / "whole" / WEIGHTS)[0], state(stopped))


def test_the_best_epoch_is_the_earliest_of_equals_and_the_last_when_nobody_looked() -> None:
    history = [{"epoch": n + 1, "val_top1": top1} for n, top1 in enumerate([0.2, 0.5, 0.5, 0.4])]
    assert best_epoch(history)["epoch"] == 2
    assert best_epoch([{**record, "val_top1": None} for record in history])["epoch"] == 4


def test_a_reference_is_a_copy_that_does_not_learn(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    student = net()
    stage = Stage("kd", epochs=2, reference_feature_weight=1.0)
    job = job_of(student, teacher, data, stage, tmp_path)
    job.reference = job.student.frozen_copy(with_taps=True)
    reference = job.reference.model
    before = state(reference)
    assert same(before, state(student))
    train_stage(job)
    assert same(state(reference), before)
    assert not same(state(student), before)
    assert not any(module.training for module in reference.modules())
    assert not any(p.requires_grad or p.grad is not None for p in reference.parameters())


def stopped_in_epoch_3(student: nn.Module, data: Any, stage: Stage, folder: Path) -> None:
    with pytest.raises(StoppedError):
        train_alone(student, data, stage, folder, engine=CPU, listener=StopIn(epoch=3, batch=2))


def test_a_stage_goes_on_where_it_stopped(net: Net, data: Any, tmp_path: Path) -> None:
    stage = Stage(epochs=4)
    stopped_in_epoch_3(net(), data, stage, tmp_path / "stopped")
    listener, student, whole = StopIn(), net(seed=5), net()
    train_alone(student, data, stage, tmp_path / "stopped", engine=CPU, listener=listener)
    train_alone(whole, data, stage, tmp_path / "whole", engine=CPU)
    assert listener.started[-1] == ("labels", 2)
    assert listener.batches == 2 * len(data)
    assert same(state(student), state(whole))


def test_resume_state_of_other_settings_is_passed_over(net: Net, data: Any, tmp_path: Path) -> None:
    stopped_in_epoch_3(net(), data, Stage(epochs=4, lr=0.2), tmp_path / "stopped")
    listener, student, whole = StopIn(), net(), net()
    stage = Stage(epochs=4, lr=0.1)
    train_alone(student, data, stage, tmp_path / "stopped", engine=CPU, listener=listener)
    train_alone(whole, data, stage, tmp_path / "whole", engine=CPU)
    assert listener.started[-1] == ("labels", 0)
    assert same(state(student), state(whole))


def test_a_damaged_resume_file_is_named(net: Net, data: Any, tmp_path: Path) -> None:
    stage = Stage(epochs=4)
    stopped_in_epoch_3(net(), data, stage, tmp_path)
    content = bytearray((tmp_path / RESUME).read_bytes())
    content[-100] ^= 1
    (tmp_path / RESUME).write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"resume\.safetensors: checksum differs"):
        train_alone(net(), data, stage, tmp_path, engine=CPU)


def test_resume_state_of_another_network_is_told(net: Net, data: Any, tmp_path: Path) -> None:
    stage = Stage(epochs=4)
    stopped_in_epoch_3(net(width=4), data, stage, tmp_path)
    expected = r"resume\.safetensors: the state of another network .*choose another folder"
    with pytest.raises(WeightsMismatchError, match=expected) as caught:
        train_alone(net(width=5), data, stage, tmp_path, engine=CPU)
    assert "\n" not in str(caught.value)


def test_a_finished_stage_is_found_done(net: Net, data: Any, tmp_path: Path) -> None:
    first, second, listener = net(seed=0), net(seed=5), StopIn()
    metrics = train_alone(first, data, Stage(epochs=1), tmp_path, engine=CPU)
    again = train_alone(second, data, Stage(epochs=1), tmp_path, engine=CPU, listener=listener)
    assert listener.batches == 0
    assert again == json.loads(json.dumps(metrics))
    assert same(state(second), state(first))


def test_a_finished_stage_of_other_settings_is_not_taken_for_it(
    net: Net, data: Any, tmp_path: Path
) -> None:
    train_alone(net(), data, Stage(epochs=1), tmp_path, engine=CPU)
    metrics = train_alone(net(), data, Stage(epochs=2), tmp_path, engine=CPU)
    assert len(metrics["history"]) == 2


def test_a_finished_stage_whose_student_was_changed_is_refused(
    net: Net, data: Any, tmp_path: Path
) -> None:
    """By another whole file, which knows nothing of the run."""
    train_alone(net(), data, Stage(epochs=1), tmp_path, engine=CPU)
    save_model(tmp_path / WEIGHTS, net(seed=5))
    with pytest.raises(CorruptFileError, match=r"weights\.safetensors: checksum differs"):
        train_alone(net(), data, Stage(epochs=1), tmp_path, engine=CPU)


@pytest.mark.parametrize("content", ["[]", "{}", '{"fingerprint": 3}'])
def test_metrics_that_somebody_else_wrote_are_passed_over(
    net: Net, data: Any, tmp_path: Path, content: str
) -> None:
    train_alone(net(), data, Stage(epochs=1), tmp_path, engine=CPU)
    (tmp_path / METRICS).write_text(content)
    assert len(train_alone(net(), data, Stage(epochs=1), tmp_path, engine=CPU)["history"]) == 1


def test_inputs_that_are_no_images_can_be_learned_from(data: Any, tmp_path: Path) -> None:
    flat = [(images.flatten(1), labels) for images, labels in data]
    model = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    metrics = train_alone(model, flat, Stage(epochs=3), tmp_path, engine=CPU)
    history = metrics["history"]
    assert history[-1]["losses"]["loss"] < history[0]["losses"]["loss"]


def test_bf16_learns_and_keeps_its_weights_in_fp32(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    student = net()
    data.numbered = True
    engine = Engine(accelerator="cpu", precision="bf16")
    stages = [Stage(name, epochs=1) for name in METHODS.names()]
    results = distill(teacher, student, data, stages, tmp_path, engine=engine)
    assert all(math.isfinite(metrics["history"][0]["losses"]["loss"]) for metrics in results)
    assert all(p.dtype == torch.float32 for p in student.parameters())


def test_a_network_in_double_precision_is_taught_in_it(
    net: Net, teacher: nn.Module, data: Any, tmp_path: Path
) -> None:
    data.images = data.images.double()
    student = net().double()
    stages = [Stage(name, epochs=1) for name in ("kd", "at", "rkd")]
    distill(teacher.double(), student, data, stages, tmp_path, engine=CPU)
    assert all(p.dtype == torch.float64 for p in student.parameters())
