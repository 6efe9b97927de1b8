"""Is SMSKD ahead of one method, and of both at once, at the full budget? For a GPU and a while.

    python benchmarks/gpu_study.py --data FOLDER --out FOLDER --minutes 15
    python benchmarks/gpu_study.py --data FOLDER --out FOLDER --minutes 15     # again: it goes on

FOLDER of --data has train/ and test/ with a folder of 32×32 images a class. A resnet56 that saw all
training images teaches a resnet20 that sees them too, for 240 epochs an arm: kd; at and kd at once
(simultaneous); SMSKD, at → kd on one schedule, anchored by the student of the first stage
(smskd-tcp). The arms of a seed have the same first weights and the same views in the same order.
There are no validation images, for nothing is chosen: the last epoch's student is tested.

Data and its variation lie on the device, the arms of a seed are one CUDA graph, and several seeds
learn side by side (`side_by_side.py` says why so). It saves every few minutes and stops in time;
called again, it goes on where it stopped, also after a kill. Results are printed as a Markdown
table and written to OUT/results.json.

The paths for CUDA have not been run by those who wrote them: no GPU was at hand. If capturing
fails, --no-graphs takes plain steps there; on a CPU that is what is done anyway.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from device_images import DeviceImages, pixels_of
from side_by_side import Lane, Run, autocast_for
from torch import Tensor, nn

from foundation.errors import CompressError, DataLayoutError, RunMismatchError, unknown_name
from foundation.files import write_json
from foundation.records import read_record
from pipeline.data import Dataset, load_dataset
from pipeline.data.parts import Parts
from pipeline.data.splits import Splits, split
from pipeline.models import build_model
from pipeline.recipe.file import RecipeFile, load_recipe
from pipeline.recipe.sections.data import DataRecipe
from pipeline.study.arms import AT_ONCE, Arm, all_arms, distribute
from pipeline.study.statistics import compare_seed_by_seed, spread_of
from smskd import Engine, Stage, evaluate
from smskd.checkpoints.files import content_sha256, load_model, save_model
from smskd.engine import derive_seed
from smskd.features.folding import folded
from smskd.features.taps import TappedModel
from smskd.pair import Pair, make_pair

ARMS = ["kd", AT_ONCE, "smskd-tcp"]
BASELINES = ["kd", AT_ONCE]
SHIFT = 4
LR, WARMUP_EPOCHS = 0.1, 1.0
_AT_A_TIME = 20  # steps between two looks at the clock
_REPORT_EVERY = 10.0  # seconds
_TEACHER = "teacher"


@dataclass(frozen=True)
class Scores:
    """What a finished network was worth, beside what its training depended on.

    Attributes:
        fingerprint: of the training.
        test_top1: share of the test images named rightly, by the network's name.
    """

    fingerprint: str
    test_top1: dict[str, float]


@dataclass
class Clock:
    """How long there is, what was done in it, and what is to be said and saved when.

    Attributes:
        deadline: seconds of `time.monotonic` by which all must be saved.
        save_every: seconds between two saves.
        images: that networks have learned from in this process.
        seconds: spent on that.
    """

    deadline: float
    save_every: float
    images: int = 0
    seconds: float = 0.0
    _measured_images: int = 0
    _measured_seconds: float = 0.0
    _longest: float = 0.0
    _saving: float = 0.0
    _saved: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)
    _images_said: int = 0

    def count(self, seconds: float, images: int) -> None:
        """Some steps were taken."""
        self.images, self.seconds = self.images + images, self.seconds + seconds
        self._measured_images += images
        self._measured_seconds += seconds
        self._longest = max(self._longest, seconds)

    def measure_anew(self) -> None:
        """Other lanes than before are under way: forget their pace."""
        self._measured_images, self._measured_seconds = 0, 0.0

    def enough_for(self, lanes: Sequence[Lane]) -> bool:
        """Whether lanes will be finished in time, as far as an epoch of theirs tells."""
        epoch = sum(lane.images_left(lane.steps - lane.steps_per_epoch) for lane in lanes)
        if self._measured_images < epoch:
            return True
        left = sum(lane.images_left(lane.done) for lane in lanes)
        needed = left * self._measured_seconds / self._measured_images
        return time.monotonic() + needed <= self.deadline

    @property
    def over(self) -> bool:
        """Whether the next steps, and saving after them, may take longer than there is."""
        return time.monotonic() + 2 * self._longest + 2 * self._saving > self.deadline

    def save(self, lanes: Iterable[Lane], *, at_once: bool = False) -> None:
        """Save where it is time to."""
        began = time.monotonic()
        if at_once or began - self._saved >= self.save_every:
            for lane in lanes:
                lane.save()
            self._saved = time.monotonic()
            self._saving = max(self._saving, self._saved - began)

    def say(self, lanes: Sequence[Lane], losses: Mapping[Lane, Mapping[str, float]]) -> None:
        """A line on progress, where the last is some seconds old."""
        now = time.monotonic()
        if now - self._said < _REPORT_EVERY:
            return
        pace = (self.images - self._images_said) / (now - self._said)
        parts = [
            f"seed {lane.seed} epoch {lane.done / lane.steps_per_epoch:.1f} of "
            f"{lane.steps // lane.steps_per_epoch} ("
            + ", ".join(f"{name} {loss:.3f}" for name, loss in losses[lane].items())
            + ")"
            for lane in lanes
        ]
        left = max(self.deadline - now, 0) / 60
        print(f"{pace:,.0f} images/s, {left:.1f} min left; {'; '.join(parts)}", flush=True)
        self._said, self._images_said = now, self.images


def train(
    lanes: Iterator[Lane], at_once: int, clock: Clock, finish: Callable[[Lane], None]
) -> bool:
    """Train lanes side by side, the next when one is finished; False when the time was over first.

    Where all that are under way cannot be finished in time, the last ones wait for others.

    Args:
        lanes: made when it is their turn.
        at_once: so many of them.
        clock: all is saved before its time is over.
        finish: is told of each that is finished.
    """
    active, waiting = list(islice(lanes, at_once)), list[Lane]()
    while active:
        began = time.monotonic()
        left = [lane.images_left(lane.done) for lane in active]
        for _ in range(_AT_A_TIME):
            for lane in active:
                if not lane.finished:
                    lane.advance()
        losses = {lane: lane.mean_losses() for lane in active}
        images = sum(left) - sum(lane.images_left(lane.done) for lane in active)
        clock.count(time.monotonic() - began, images)
        clock.say(active, losses)
        for lane in [lane for lane in active if lane.finished]:
            finish(lane)
            active.remove(lane)
            active += [waiting.pop()] if waiting else islice(lanes, 1)
            clock.measure_anew()
        clock.save(active, at_once=clock.over)
        if active and clock.over:
            return False
        if len(active) > 1 and not clock.enough_for(active):
            waiting.append(active.pop())
            waiting[-1].save()
            clock.measure_anew()
            print(f"seed {waiting[-1].seed} waits, so that others are finished in time", flush=True)
    return True


class Study:
    """The study as it was asked for, and what lies of it in its folder."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.out: Path = args.out
        self.device = torch.device(args.device)
        self.engine = Engine()
        self.autocast = autocast_for(self.device, args.precision)
        self.file = recipe_of(args)
        self.arms = arms_of(self.file, args.arms)
        splits = whole(self.file)
        self.classes, self.channels = len(splits.classes), splits.preprocessing.channels
        self.images, self.test = (
            DeviceImages(
                pixels, part.labels, splits.preprocessing, self.device, shift=shift, flip=flip
            )
            for part, shift, flip in ((splits.train, SHIFT, True), (splits.test, 0, False))
            for pixels in [pixels_of(splits.for_student(part))]
        )

    def run(self, clock: Clock) -> bool:
        """Train what is not trained yet; False when the time was over first."""
        if not self._teach(clock):
            return False
        print(f"teacher: test top-1 {100 * self.teacher_top1:.2f} %", flush=True)
        seeds = [seed for seed in range(self.args.seeds) if self.scores(seed) is None]
        lanes = (self.lane(seed) for seed in seeds)
        at_once = max(self.args.runs_at_once // len(self.arms), 1)
        return train(lanes, at_once, clock, self._finish)

    def scores(self, seed: int) -> dict[str, float] | None:
        """Test top-1 of a seed's arms; None while they are not finished."""
        return self._scores_in(self._folder(seed), self._fingerprint(seed))

    @property
    def taught(self) -> bool:
        """Whether there is a teacher."""
        return self.args.teacher is not None or self._teacher_file.exists()

    @cached_property
    def teacher(self) -> nn.Module:
        """The trained teacher, at rest."""
        network = self.drawn(self.args.teacher_model, 0, _TEACHER)
        load_model(self.args.teacher or self._teacher_file, network)
        return network.eval().requires_grad_(False)

    @cached_property
    def teacher_top1(self) -> float:
        """On the test images."""
        return self.top1(self.teacher)

    def top1(self, network: nn.Module) -> float:
        """A network's share of test images that it names rightly."""
        return float(evaluate(network, self.test.as_they_are(), self.device)["top1"])

    def drawn(self, name: str, seed: int, role: str) -> nn.Module:
        """A network on the device with the first weights that a study gives a seed and a role."""
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, role))
            network = build_model(name, self.classes, self.channels)
        return self.engine.place(network, self.device)

    def lane(self, seed: int) -> Lane:
        """The arms of a seed, from their first weights or where they were left."""
        pairs = {
            name: self.pair(self.drawn(self.args.student_model, seed, "student"))
            for name in self.arms
        }
        runs = {
            name: Run(arm.stages, pairs[name].student, pairs[name], self.autocast)
            for name, arm in self.arms.items()
        }
        # One network at the same taps for all.
        teacher = folded(next(iter(pairs.values())).teacher, self.example)
        return self._lane(seed, teacher, runs, self._folder(seed), self._fingerprint(seed))

    def pair(self, student: nn.Module) -> Pair:
        """Student and teacher with their taps."""
        return make_pair(student, self.teacher, self.example, samples=len(self.images))

    @cached_property
    def example(self) -> Tensor:
        """Two images of the test, shape (2, C, H, W)."""
        ids = torch.arange(2, device=self.device)
        return self.test.views(ids, ids.new_zeros(2, 3))

    def _teach(self, clock: Clock) -> bool:
        """Train the teacher, unless there is one; False when the time was over first."""
        if self.args.teacher is not None:
            return True
        stage = Stage(
            epochs=self.args.teacher_epochs, ce_weight=1.0, lr=LR, warmup_epochs=WARMUP_EPOCHS
        )
        folder, asked = self.out / _TEACHER, self._digest(self.args.teacher_model, stage.as_dict())
        if self._scores_in(folder, asked) is not None:
            return True
        network = TappedModel(self.drawn(self.args.teacher_model, 0, _TEACHER))
        lane = self._lane(
            0, None, {_TEACHER: Run([stage], network, None, self.autocast)}, folder, asked
        )
        return train(iter([lane]), 1, clock, self._finish)

    def _lane(
        self,
        seed: int,
        teacher: TappedModel | None,
        runs: dict[str, Run],
        folder: Path,
        fingerprint: str,
    ) -> Lane:
        return Lane(
            seed,
            self.images,
            teacher,
            runs,
            batch_size=self.args.batch_size,
            autocast=self.autocast,
            folder=folder / "unfinished",
            fingerprint=fingerprint,
            graphs=self.args.graphs,
        )

    def _finish(self, lane: Lane) -> None:
        """Test a lane's networks, and leave them and what they are worth."""
        lane.wait()
        folder, networks = lane.folder.parent, {n: r.student.model for n, r in lane.runs.items()}
        for name, network in networks.items():
            save_model(folder / f"{name}.safetensors", network)
        top1 = {name: self.top1(network) for name, network in networks.items()}
        write_json(folder / "scores.json", asdict(Scores(lane.fingerprint, top1)))
        shutil.rmtree(lane.folder, ignore_errors=True)
        words = ", ".join(f"{name} {100 * value:.2f} %" for name, value in top1.items())
        print(f"seed {lane.seed} is finished: test top-1 {words}", flush=True)

    def _scores_in(self, folder: Path, fingerprint: str) -> dict[str, float] | None:
        path = folder / "scores.json"
        if not path.exists():
            return None
        scores = read_record(path, Scores, "scores of this study", "delete it to train again")
        if scores.fingerprint != fingerprint:
            raise RunMismatchError(
                f"{path}: is of other data, another teacher or other settings; choose another --out"
            )
        return scores.test_top1

    @property
    def _teacher_file(self) -> Path:
        return self.out / _TEACHER / f"{_TEACHER}.safetensors"

    def _folder(self, seed: int) -> Path:
        return self.out / f"seed-{seed}"

    def _fingerprint(self, seed: int) -> str:
        stages = {n: [stage.as_dict() for stage in arm.stages] for n, arm in self.arms.items()}
        return self._digest(self.args.student_model, stages, self._teacher_digest, seed)

    @cached_property
    def _teacher_digest(self) -> str:
        return content_sha256(self.teacher.state_dict())

    def _digest(self, *parts: object) -> str:
        """Of what a training depends on, beside what all have in common."""
        common = [self._data_digest, self.args.batch_size, self.args.precision]
        return hashlib.sha256(json.dumps([*parts, *common]).encode()).hexdigest()

    @cached_property
    def _data_digest(self) -> str:
        return self.images.digest()

    def results(self, clock: Clock) -> dict[str, Any]:
        """What there is so far, as plain JSON values; no paths are among them."""
        by_arm: dict[str, dict[int, float]] = {name: {} for name in self.arms}
        for seed in range(self.args.seeds):
            for name, top1 in (self.scores(seed) or {}).items():
                by_arm[name][seed] = top1
        cuda = self.device.type == "cuda"
        return {
            "data": {
                "name": self.args.data.resolve().name,
                "train": len(self.images),
                "test": len(self.test),
                "classes": self.classes,
                "sha256": self._data_digest,
            },
            "teacher": {"model": self.args.teacher_model, "test_top1": self.teacher_top1}
            | ({} if self.args.teacher else {"epochs": self.args.teacher_epochs}),
            "student": self.args.student_model,
            "epochs": self.args.epochs,
            "batch_size": self.args.batch_size,
            "precision": self.args.precision,
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "torch": torch.__version__,
            "images_per_second": clock.images / clock.seconds if clock.images else None,
            "arms": {
                name: {
                    "words": self.arms[name].words,
                    "test_top1": {str(seed): top1 for seed, top1 in by_seed.items()},
                    **({"spread": asdict(spread_of(list(by_seed.values())))} if by_seed else {}),
                    "against": {
                        other: asdict(comparison)
                        for other in BASELINES
                        if other != name and other in by_arm
                        for comparison in [compare_seed_by_seed(by_seed, by_arm[other])]
                        if comparison is not None
                    },
                }
                for name, by_seed in by_arm.items()
            },
        }


def recipe_of(args: argparse.Namespace) -> RecipeFile:
    """The study as a recipe: its stages are those of SMSKD, and the arms are made of them."""
    first, second = distribute(args.epochs, [1, 1])
    at: dict[str, Any] = {"methods": ["at"], "epochs": first, "ce_weight": 1.0, "lr": LR}
    kd = {"methods": ["kd"], "epochs": second, "ce_weight": 0.1, "schedule": "shared"}
    return load_recipe(
        None,
        {
            "data.name": f"folder:{args.data}",
            "data.image_size": args.image_size,
            "stages": [at | {"warmup_epochs": WARMUP_EPOCHS}, kd],
        },
    )


def arms_of(file: RecipeFile, names: Sequence[str]) -> dict[str, Arm]:
    """The arms that were asked for, of those whose methods learn nothing themselves.

    Raises:
        UnknownNameError: when there is no such arm.
    """
    known = {name: arm for name, arm in all_arms(file).items() if name != "sakd"}
    for name in names:
        if name not in known:
            raise unknown_name("arm", name, known, "--arms")
    return {name: known[name] for name in names}


def whole(file: RecipeFile) -> Splits:
    """The dataset with all of its training images to learn from."""

    def parts(dataset: Dataset, recipe: DataRecipe) -> Parts:
        if dataset.train is None or dataset.test is None:
            raise DataLayoutError(f"dataset {recipe.name}: must have both train/ and test/")
        return Parts(dataset.train, dataset.train, dataset.test, dataset.test)

    data = file.recipe.data
    return split(load_dataset(data), data, parts_for=parts)


def table(results: Mapping[str, Any]) -> list[str]:
    """The arms as lines of a Markdown table."""
    columns = ["arm", "seeds", "test top-1 %", *(f"against {name} (p)" for name in BASELINES)]
    lines = [
        f"| {' | '.join([*columns, 'what it is'])} |",
        f"| --- |{' ---: |' * (len(columns) - 1)} --- |",
    ]
    for name, arm in results["arms"].items():
        cells = [name, str(len(arm["test_top1"])), _spread(arm.get("spread"))]
        cells += [_against(arm["against"].get(other)) for other in BASELINES]
        lines.append(f"| {' | '.join([*cells, arm['words']])} |")
    return lines


def _spread(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return "–"
    sd = f" ± {100 * spread['sd']:.2f}" if spread["sd"] is not None else ""
    return f"{100 * spread['mean']:.2f}{sd}"


def _against(comparison: Mapping[str, Any] | None) -> str:
    if comparison is None:
        return "–"
    p = f" ({comparison['p']:.2g})" if comparison["p"] is not None else ""
    return f"{100 * comparison['difference']:+.2f}{p}"


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    option = parser.add_argument
    option("--data", type=Path, required=True, help="folder with train/ and test/")
    option("--out", type=Path, required=True, help="folder of all that is made")
    option("--minutes", type=float, default=15, help="stop within so many (%(default)s)")
    option("--epochs", type=int, default=240, help="of an arm (%(default)s)")
    option("--seeds", type=int, default=4, help="0 to N−1 (%(default)s)")
    option("--arms", nargs="+", default=ARMS, help=" ".join(ARMS))
    option("--batch-size", type=int, default=125, help="images a step (%(default)s)")
    option(
        "--runs-at-once",
        type=int,
        default=12,
        help="students side by side (%(default)s); all arms of a seed go together",
    )
    option("--teacher", type=Path, help="weights of a teacher that was trained before")
    option("--teacher-epochs", type=int, default=100, help="else it is trained (%(default)s)")
    option("--teacher-model", default="resnet56", help="(%(default)s)")
    option("--student-model", default="resnet20", help="(%(default)s)")
    option("--image-size", type=int, default=32, help="side of an image (%(default)s)")
    option("--device", choices=("cpu", "cuda"), default=found, help="(%(default)s)")
    option("--precision", choices=("fp32", "bf16"), help="bf16 on a GPU, fp32 elsewhere")
    option("--no-graphs", dest="graphs", action="store_false", help="plain steps on a GPU too")
    option("--save-minutes", type=float, default=2, help="between saves (%(default)s)")
    option("--json", type=Path, help="the results, here too")
    args = parser.parse_args(arguments)
    for name, least in {"epochs": 2, "seeds": 1, "batch_size": 2, "teacher_epochs": 1}.items():
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    args.precision = args.precision or ("bf16" if args.device == "cuda" else "fp32")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, test, print and write."""
    began = time.monotonic()
    args = parsed(arguments)
    if args.device == "cuda":
        torch.backends.cudnn.benchmark = True
    try:
        clock = Clock(began + 60 * args.minutes, 60 * args.save_minutes)
        study = Study(args)
        finished = study.run(clock)
        if not study.taught:
            print("the time is over, and the teacher is not trained yet: run this again to go on")
            return
        results = study.results(clock)
        for path in (args.out / "results.json", *([args.json] if args.json else [])):
            write_json(path, results)
    except CompressError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print("\n".join(table(results)))
    pace = results["images_per_second"]
    if pace is not None:
        print(f"{pace:,.0f} images/s in all, in {clock.seconds / 60:.1f} minutes of training")
    if not finished:
        print("the time is over before all is trained: run this again to go on")


if __name__ == "__main__":
    main()
