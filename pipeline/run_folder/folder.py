"""The run folder: everything a run makes, as plain files, and the record of how it was made.

runs/NAME/
  recipe.toml  run.json  data/  teacher/  alone/  stages/  student.safetensors
  bundles/  findings/  shipping.json  bench/  report.html  report.md  gate.json
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout

from deploy_targets.estimating.estimate import is_estimate
from foundation.documents import parse_toml
from foundation.errors import (
    BusyError,
    CorruptFileError,
    MissingFileError,
    RecipeError,
    RunMismatchError,
    is_not_writable,
)
from foundation.files import (
    LOCK,
    check_inside,
    check_sha256,
    clear_leftovers,
    no_space_named,
    sha256_of,
    write_json,
    write_text,
)
from pipeline.recipe.code import code_of, module_in, source_file
from pipeline.recipe.file import dump_recipe, load_recipe, read_toml, recipe_values, validated
from pipeline.run_folder.binding import Binding, first_difference, training_values
from pipeline.run_folder.records import SCHEMA_VERSION, RunRecord, read_table
from pipeline.run_folder.torchrun import leads, wait_for_all

if TYPE_CHECKING:
    from pipeline.recipe.sections.recipe import Recipe

logger = logging.getLogger(__name__)

S = TypeVar("S")
_LAST_SECTION = "study"
"""Of those that every recipe of a run has, in the order of `dump_recipe`."""

DEFAULT_ROOT = Path("runs")
SEARCH = "search.json"
"""What tells the folder of a search, whose trials are run folders, from a run's."""

_LIBRARIES = ("torch", "torchvision", "onnx", "onnxruntime", "openvino", "nncf", "numpy")


Say = Callable[[str], None]
"""Shows a person one line while work is under way."""


def to_nobody(_line: str) -> None:
    """Where nobody looks on."""


METRIC_VALUES, VALIDATION_METRIC_VALUES = "metric.json", "validation-metric.json"
"""In a bundle's findings: what the run's metric says of it on test and on validation images."""


@dataclass(frozen=True)
class RunFolder:
    """One run on disk, and where each thing in it lies.

    Attributes:
        path: the folder.
        say: shows a step's remarks while it is under way.
    """

    path: Path
    say: Say = field(default=to_nobody, compare=False, repr=False)

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def record_path(self) -> Path:
        return self.path / "run.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def teacher(self) -> Path:
        return self.path / "teacher"

    @property
    def alone(self) -> Path:
        """The student that had no teacher, where it was asked for."""
        return self.path / "alone"

    @property
    def stages(self) -> Path:
        return self.path / "stages"

    @property
    def retention_path(self) -> Path:
        """How much of each stage is left after later ones; see `smskd.retention_matrix`."""
        return self.path / "retention.json"

    @property
    def teacher_views(self) -> Path:
        """What teachers said about fixed views: beside the runs, which share it."""
        return self.path.parent / "teacher-views"

    @property
    def student(self) -> Path:
        return self.path / "student.safetensors"

    @property
    def student_graph(self) -> Path:
        """The student where it is an ONNX file that was adopted, and not a network of torch."""
        return self.path / "student.onnx"

    @property
    def teacher_graph(self) -> Path:
        """The teacher where it is an ONNX file, and not a network of torch."""
        return self.teacher / "teacher.onnx"

    @property
    def has_teacher(self) -> bool:
        """Whether there is a teacher; an adopted network has none."""
        return (self.teacher / "weights.safetensors").is_file()

    def scores(self, network: str) -> Path:
        """What "teacher", "alone" or "student" is worth, class by class."""
        return self.path / "scores" / f"{network}.json"

    @property
    def bundles(self) -> Path:
        return self.path / "bundles"

    @property
    def findings(self) -> Path:
        """What the checks of each bundle found out, a folder each: its answers, its layers."""
        return self.path / "findings"

    @property
    def trials(self) -> Path:
        """Finished trials of a search for what ships."""
        return self.path / "trials"

    @property
    def bench(self) -> Path:
        return self.path / "bench"

    @property
    def comparisons(self) -> Path:
        """Bundles of the run timed in turns with others."""
        return self.bench / "comparisons"

    @property
    def operators(self) -> Path:
        """Where the time of each bundle goes, as its runtime told it."""
        return self.bench / "operators"

    @property
    def sustained(self) -> Path:
        """Bundles that were kept at work for long."""
        return self.bench / "sustained"

    @property
    def logs(self) -> Path:
        """What processes that failed on a device said."""
        return self.path / "logs"

    @property
    def shipping_path(self) -> Path:
        """Which bundle ships, and why; see `pipeline.exporting.choice`."""
        return self.path / "shipping.json"

    @property
    def verdict_path(self) -> Path:
        return self.path / "gate.json"

    def recipe(self) -> Recipe:
        """What was asked.

        Raises:
            RunMismatchError: when it was asked of another version of this program.
            CorruptFileError: when it is not whole: what is cut off would pass for a default.
        """
        try:
            recipe = load_recipe(self.recipe_path).recipe
            self._check_whole(recipe)
            return recipe
        except RecipeError as error:
            raise RunMismatchError(
                f"{error}; the run folder was made by another version, or its recipe was edited: "
                "choose another folder with --run, or delete this one"
            ) from error

    def recipe_section(self, name: str, kind: type[S]) -> S:
        """One section of what was asked, for whom the rest is no matter: all of them take longer
        to read than what they are read for.

        Args:
            name: of the section, which is not the last.
            kind: its class.

        Raises:
            RunMismatchError, CorruptFileError: as `recipe`, of this section.
        """
        content, source = read_toml(self.recipe_path, "recipe")
        # Without the last one it may be cut off; and what is wrong the whole tells better.
        if _LAST_SECTION in content:
            with suppress(RecipeError):
                return validated(kind, content.get(name, {}), source)
        section: S = getattr(self.recipe(), name)
        return section

    def _check_whole(self, recipe: Recipe) -> None:
        """A file that was cut off lacks its end. A table that is not there before others that are
        came with a later release than the one that wrote the file: it has its default."""
        content, _ = read_toml(self.recipe_path, "recipe")
        if not recipe_values(recipe).keys() - content.keys():
            return
        written = list(parse_toml(dump_recipe(recipe)))
        lacking = list(takewhile(lambda key: key not in content, reversed(written)))
        if lacking:
            raise CorruptFileError(
                f"{self.recipe_path}: not the whole recipe, for it lacks "
                f"{', '.join(sorted(lacking))}; put it back as it was, or choose another folder "
                "with --run"
            )

    def recipe_with(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with some keys replaced, by their places, and validated again."""
        return load_recipe(self.recipe_path, changes).recipe

    def record(self) -> dict[str, Any]:
        """The content of run.json.

        Raises:
            CorruptFileError: when it is not the record of a run.
        """
        description = f"the record of a run of schema version {SCHEMA_VERSION}"
        return read_table(
            self.record_path, RunRecord, description, "choose another folder with --run"
        )

    def note(self, **facts: Any) -> None:
        """Add facts to run.json; of several processes, the leading one does."""
        if leads():
            write_json(self.record_path, {**self.record(), **facts})

    def remarks(self) -> dict[str, list[str]]:
        """What the steps decided by looking or left out, by the step's name; see `Step.remark`."""
        steps = self.record()["steps"]
        return {name: done["remarks"] for name, done in steps.items() if done.get("remarks")}

    def recorded_files(self) -> dict[str, str]:
        """SHA-256 of all that steps made, as run.json lists it, by the path within the folder."""
        steps = self.record()["steps"].values()
        return {name: digest for done in steps for name, digest in done["products"].items()}

    @property
    def is_writable(self) -> bool:
        """Whether something can be written into the folder."""
        return os.access(self.path, os.W_OK)

    def mark_used(self) -> None:
        """Make this the run used last, where the folder can be written; see `open_run`."""
        if not self.record_path.is_symlink():
            with suppress(OSError):
                self.record_path.touch()

    def bundle_folders(self) -> list[Path]:
        """Folders of all bundles made so far, sorted by name."""
        return sorted(path.parent for path in self.bundles.glob("*/bundle.json"))

    def measurement_paths(self) -> list[Path]:
        """All measurements taken so far, sorted by name; estimates are none."""
        return sorted(path for path in self.bench.glob("*.json") if not is_estimate(path))

    def estimate_paths(self) -> list[Path]:
        """All estimates made so far, sorted by name."""
        return sorted(path for path in self.bench.glob("*.json") if is_estimate(path))

    def comparison_paths(self) -> list[Path]:
        """All comparisons made so far: of the choice of what ships, and with others' bundles."""
        shipped = self.path / "comparison.json"
        return [*([shipped] if shipped.is_file() else []), *sorted(self.comparisons.glob("*.json"))]

    def operator_paths(self) -> list[Path]:
        """All profiles of operators made so far, sorted by name."""
        return sorted(self.operators.glob("*.json"))

    def sustained_paths(self) -> list[Path]:
        """All series under sustained load so far, sorted by name."""
        return sorted(self.sustained.glob("*.json"))

    @contextmanager
    def step(self, name: str, **depends_on: Any) -> Iterator[Step]:
        """A step of the road: its body runs if `step.needed`, and lists what it made.

        Args:
            name: the step's name in run.json.
            depends_on: JSON-able values that its products depend on.
        """
        wait_for_all()
        step = Step(self, name, depends_on)
        wait_for_all()
        yield step
        if step.needed and leads():
            step.write_down()
        wait_for_all()

    @contextmanager
    def locked(self, *, to_read: bool = False) -> Iterator[None]:
        """Keep other processes out for as long as the block lasts.

        The lock dies with the process, so a killed run does not leave it behind. Processes that
        train together share the leading one's.

        Args:
            to_read: whether the block can do without writing: a folder that cannot be written,
                where there can be no lock either, is then read as it is.

        Raises:
            BusyError: when another process is at work here.
            CorruptFileError: when a link in the folder leads out of it.
        """
        if not leads():
            yield
            return
        if self.is_writable or not to_read:
            check_inside(self.path)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(
                f"{self.path}: another process is working in this run folder; "
                "wait for it or choose another with --run"
            ) from error
        except OSError as error:
            if not (to_read and is_not_writable(error)):
                raise
        try:
            if lock.is_locked:
                self._clear()
            yield
        finally:
            lock.release()

    def _clear(self) -> None:
        """Take away what a process that was killed left half-made."""
        clear_leftovers(self.path)
        left = list(self.bundles.glob(".*.tmp"))
        if not (self.path / SEARCH).exists():  # whose trials are runs
            left += [path for path in self.trials.glob("*") if path.name != "failed"]
        # Of a bundle that stepped aside for a new one that is there.
        old = self.bundles.glob(".*.old")
        left += [path for path in old if (self.bundles / path.name[1:-4]).exists()]
        for path in left:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


_WRITING = threading.Lock()


class Step:
    """One step under way; see `RunFolder.step`.

    Attributes:
        needed: whether there is something to do: it was never done, it depends on something that
            changed, or a product is gone.
        products: what the step made; to be filled by its body.
        remarks: what it decided by looking, and what it left out; see `remark`.
    """

    def __init__(self, run: RunFolder, name: str, depends_on: Mapping[str, Any]) -> None:
        self.run, self.name, self.depends_on = run, name, dict(depends_on)
        self.products: list[Path] = []
        self.remarks: list[str] = []
        self._started = time.monotonic()  # a clock may be set back meanwhile
        self.needed = not self._is_done()

    def _is_done(self) -> bool:
        done = self.run.record()["steps"].get(self.name)
        if done is None:
            logger.info("step %s: was never done", self.name)
            return False
        if done["depends_on"] != self.depends_on:
            changed = [key for key in self.depends_on if self._differs(done["depends_on"], key)]
            logger.info("step %s: is done again, for it depends on new %s", self.name, changed)
            return False
        paths = {self.run.path / name: digest for name, digest in done["products"].items()}
        gone = [str(path) for path in paths if not path.is_file()]
        if gone:
            logger.info("step %s: is done again, for it lacks %s", self.name, gone)
            return False
        for path, digest in paths.items():
            check_sha256(path, digest)
        logger.info("step %s: was done at %s", self.name, done["finished_at"])
        return True

    def _differs(self, before: Mapping[str, Any], key: str) -> bool:
        return key not in before or before[key] != self.depends_on[key]

    def remark(self, line: str) -> None:
        """Tell a person, once, what nobody asked for in so many words: what was guessed, chosen
        among several or left out. It is kept in run.json with the step."""
        self.remarks.append(line)
        logger.info("step %s: %s", self.name, line)
        self.run.say(line)

    def write_down(self) -> None:
        """Record the step as done, with checksums of its products."""
        # Of hosts that measure at once, each in a thread, one after the other writes.
        with _WRITING:
            self._write_down()

    def _write_down(self) -> None:
        steps = self.run.record()["steps"]
        steps[self.name] = {
            "depends_on": self.depends_on,
            "products": {
                path.relative_to(self.run.path).as_posix(): sha256_of(path)
                for path in self.products
            },
            "remarks": self.remarks,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": time.monotonic() - self._started,
        }
        self.run.note(steps=steps)
        logger.info(
            "step %s: done in %.1f s, %d files", self.name, steps[self.name]["seconds"],
            len(self.products),
        )  # fmt: skip


def start_run(
    path: Path, recipe: Recipe, say: Say = to_nobody, binding: Binding = training_values
) -> RunFolder:
    """Make a run folder for a recipe, or go on with the one that is there.

    Args:
        path: the folder.
        recipe: what is asked.
        say: shows a person the steps' remarks.
        binding: the part of the recipe that the folder's content depends on.

    Raises:
        RunMismatchError: when it was made by a recipe that differs in that part, or is a search's.
        BusyError: when another process is at work there.
    """
    run = RunFolder(path, say)
    if (path / SEARCH).exists():
        raise RunMismatchError(
            f"{path}: a search lies here, whose trials are run folders ({run.trials}/0000 ...); "
            "choose another folder with --run"
        )
    with no_space_named(path):
        path.mkdir(parents=True, exist_ok=True)
    if leads():
        with run.locked():
            _begin(run, recipe, binding)
    wait_for_all()
    logger.info("run folder %s", path)
    return run


def _begin(run: RunFolder, recipe: Recipe, binding: Binding) -> None:
    again = is_asked_again(run, recipe)
    if run.record_path.exists() and run.recipe_path.exists():
        if not again:
            _check_bound(run, recipe, binding)
        _check_same_code(run, recipe, binding)
        run.mark_used()
    else:
        write_json(run.record_path, _new_record(recipe))
    if not again:
        write_text(run.recipe_path, dump_recipe(recipe.spelled_out()))
        run.note(asked=_asked(run, recipe))


def is_asked_again(run: RunFolder, recipe: Recipe) -> bool:
    """Whether a run whose student has learned is asked what it was asked before, to the letter.

    Then its names are known, and what its stages left to their methods is spelled out; to look that
    up again would take torch.

    Raises:
        CorruptFileError: when its record is none.
    """
    if not (run.record_path.is_file() and run.recipe_path.is_file()):
        return False
    record = run.record()
    return "distill" in record["steps"] and record.get("asked") == _asked(run, recipe)


def _asked(run: RunFolder, recipe: Recipe) -> str:
    """In one word: the recipe, the program that read it, and what it wrote down of it."""
    values = [recipe_values(recipe), release_of("edge-compress"), sha256_of(run.recipe_path)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def open_run(path: Path | None, say: Say = to_nobody) -> RunFolder:
    """The run folder at `path`, or the one used last under `runs/` when none is named.

    Args:
        path: the folder.
        say: shows a person the steps' remarks.

    Raises:
        MissingFileError: when there is none.
    """
    if path is None:
        path = _latest_run()
    run = RunFolder(path, say)
    if not run.record_path.is_file() or not run.recipe_path.is_file():
        raise MissingFileError(
            f"{path}: not a run folder (no run.json); make one with `compress run` or "
            "`compress distill`"
        )
    run.mark_used()
    logger.info("run folder %s", path)
    return run


def _latest_run() -> Path:
    records = sorted(DEFAULT_ROOT.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise MissingFileError(
            f"{DEFAULT_ROOT}/: no run here yet; make one with `compress run digits`, "
            "or name a run folder"
        )
    return records[-1].parent


def _check_bound(run: RunFolder, recipe: Recipe, binding: Binding) -> None:
    bound, now = binding(run.recipe()), binding(recipe)
    if _is_moved(run, bound["data"]["name"], recipe.data.name):
        bound["data"]["name"] = recipe.data.name
    difference = first_difference(bound, now)
    if difference:
        raise RunMismatchError(
            f"{run.path}: made by another recipe: {difference}; choose another folder with "
            "--run, or delete this one"
        )


def _check_same_code(run: RunFolder, recipe: Recipe, binding: Binding) -> None:
    """Refuse networks whose code is not what it was; before anything has learned, it may change."""
    before, now = run.record().get("code", {}), code_of(recipe)
    if now == before:
        return
    roles = binding(recipe)
    now = {role: code for role, code in now.items() if role in roles}
    changed = [role for role in now if before.get(role) != now[role]]
    if changed and (run.teacher.exists() or run.stages.exists()):
        raise code_changed(run, changed[0], getattr(recipe, changed[0]).model)
    if now != before:
        run.note(code=now)


def code_changed(run: RunFolder, role: str, model: str) -> RunMismatchError:
    """What to tell where the code that makes a network is not what the run was begun with."""
    return RunMismatchError(
        f"{run.path}: the code of {role}.model = {model!r} changed since "
        f"({source_file(module_in(model) or model)}); undo that, choose another folder with --run, "
        "or delete this one"
    )


def _is_moved(run: RunFolder, before: str, now: str) -> bool:
    """Whether a dataset of another name is the run's own, which lies elsewhere now."""
    if before == now:
        return True
    # Imported here: it knows all datasets, which takes long.
    from pipeline.data.fingerprint import SEEN, is_moved, read_snapshot  # noqa: PLC0415

    return is_moved(read_snapshot(run.data / SEEN), before, now)


def _new_record(recipe: Recipe) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": recipe.name,
        "seed": recipe.seed,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: release_of(name) for name in ("edge-compress", *_LIBRARIES)},
        "code": code_of(recipe),
        "steps": {},
    }


def release_of(distribution: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - for a new run

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def code_commit() -> str | None:
    """The commit of the code that runs, or None outside a git checkout of it."""
    # Installed into an environment inside somebody's repository, this file is not of that one.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return None
    return process.stdout.strip() if process.returncode == 0 else None
