"""What trials have in common is made once: the teacher, first stages, FP32 graphs.

All of it lies in the search's folder and is copied into a trial's, which stays an ordinary run
folder. What is copied is only offered: the steps themselves find by their fingerprints whether it
is what they would make.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device.checks import labels_of
from deploy_targets.device.messages import Accuracy
from export._folders import scratch_folder
from export.checking.answers import logits_of, predictor_of
from export.formats import FORMATS, Predictor
from export.graphs.batches import in_batches_of
from export.original import Original
from export.requests import ExportSource
from foundation.bundle import Bundle, Preprocessing
from foundation.errors import CompressError
from foundation.files import write_json
from foundation.records import as_dict, read_record
from foundation.statistics import wilson_interval
from pipeline.data.facts import VALIDATION, read_facts, read_images
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.binding import teacher_values, training_values
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.search.folder import SearchFolder
from pipeline.training.networks import trained_teacher
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import teach
from smskd.listening import Listener
from smskd.stage import stage_folder

_ANSWERS = "validation.json"
_TEACHER, _DISTILL = "teacher", "distill"


def shared_teacher(search: SearchFolder, file: RecipeFile, listener: Listener) -> RunFolder:
    """The run folder of the teacher that a recipe asks for; trained by whoever comes first, while
    the others wait."""
    run = search.teacher(file.recipe)
    with search.alone(f"teacher-{run.path.name}"):
        if run.record_path.exists() and (run.path / _ANSWERS).exists():
            return run
        run = start_run(run.path, file.recipe, binding=teacher_values)
        data = TrainingData(file)
        with run.locked():
            prepare(run, data)
            teach(run, data, listener)
            answers = answers_of_teacher(run)
            write_json(run.path / _ANSWERS, as_dict(answers))
    return run


def kept_answers(teacher: RunFolder) -> Accuracy:
    """Which validation images a shared teacher names rightly."""
    advice = "delete it and run the search again"
    return read_record(teacher.path / _ANSWERS, Accuracy, "a teacher's answers", advice)


def take_teacher(run: RunFolder, teacher: RunFolder) -> None:
    """Make a shared teacher a run's own, as if its own step had trained it."""
    record, shared = run.record(), teacher.record()
    if _TEACHER in record["steps"]:
        return
    shutil.copytree(teacher.teacher, run.teacher, dirs_exist_ok=True)
    scores = run.scores(_TEACHER)
    if teacher.scores(_TEACHER).is_file():
        scores.parent.mkdir(exist_ok=True)
        shutil.copy(teacher.scores(_TEACHER), scores)
    run.note(
        steps={**record["steps"], _TEACHER: shared["steps"][_TEACHER]},
        networks={**record.get("networks", {}), _TEACHER: shared["networks"][_TEACHER]},
    )


def take_first_stages(search: SearchFolder, run: RunFolder, recipe: Recipe) -> str | None:
    """Copy the first stages of that finished trial which has the most in common.

    Returns:
        Which trial that was, and how many stages, in words; None where none has any.
    """
    if run.stages.exists():
        return None
    wanted = training_values(recipe)
    best, most = None, 0
    for other in _finished_runs(search, run):
        shared = _stages_in_common(training_values(other.recipe()), wanted)
        if shared > most:
            best, most = other, shared
    if best is None:
        return None
    for number, stage in enumerate(recipe.spelled_out().stages[:most], start=1):
        name = stage_folder(number, stage)
        if (best.stages / name).is_dir():
            shutil.copytree(best.stages / name, run.stages / name, dirs_exist_ok=True)
    return f"{most} of its stages come from trial {int(best.path.name)}"


def _finished_runs(search: SearchFolder, besides: RunFolder) -> Iterator[RunFolder]:
    for path in sorted(search.trials.glob("[0-9]*")):
        run = RunFolder(path)
        if path == besides.path or not run.record_path.is_file():
            continue
        try:
            is_trained = _DISTILL in run.record()["steps"]
        except CompressError:  # a damaged one is nobody's example
            continue
        if is_trained:
            yield run


def _stages_in_common(theirs: dict[str, Any], wanted: dict[str, Any]) -> int:
    """How many first stages two recipes have in common, if nothing before them differs."""
    if any(theirs[key] != wanted[key] for key in wanted if key != "stages"):
        return 0
    pairs = zip(theirs["stages"], wanted["stages"], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@contextmanager
def shared_floats(
    search: SearchFolder, run: RunFolder
) -> Iterator[Callable[[ExportSource], Original]]:
    """Makes the original of an export, with the FP32 graph that an equal student has left; what is
    made of it now is left to others."""
    with scratch_folder(run.path / ".floats.tmp") as scratch:
        offers: list[Path] = []

        def original_of(source: ExportSource) -> Original:
            offers.append(search.floats / _key_of(source))
            with search.alone("floats"):
                _copy_graphs(offers[-1], scratch)
            return Original(source, scratch)

        yield original_of
        for kept in offers:
            with search.alone("floats"):
                _keep_graphs(scratch, kept)


def _key_of(source: ExportSource) -> str:
    """All that an FP32 graph of a source depends on, and all that it tells of itself."""
    told = [source.origin, asdict(source.preprocessing), list(source.classes)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _copy_graphs(there: Path, here: Path) -> None:
    for path in there.glob("opset-*"):
        shutil.copy(path, here / path.name)


def _keep_graphs(made: Path, kept: Path) -> None:
    if kept.exists() or not any(made.glob("opset-*")):
        return
    with scratch_folder(kept.with_name(f".{kept.name}.tmp")) as temporary:
        _copy_graphs(made, temporary)
        temporary.rename(kept)


def answers_of_bundle(run: RunFolder, bundle: Bundle, part: str = VALIDATION) -> Accuracy:
    """Which images of a part a bundle names rightly, asked here and not on a device."""
    manifest = bundle.manifest
    predict = FORMATS.get(manifest.format)().load(bundle.model_path)
    size = manifest.input.shape[0]
    predict = in_batches_of(predict, size if isinstance(size, int) else None)
    path = run.data / read_facts(run.data).images_for("student", part)
    return answers_to(path, predict, manifest.preprocessing)


def answers_of_teacher(run: RunFolder, part: str = VALIDATION) -> Accuracy:
    """The same of a run's teacher."""
    facts = read_facts(run.data)
    path = run.data / facts.images_for("teacher", part)
    return answers_to(path, predictor_of(trained_teacher(run)), facts.seen_by("teacher"))


def answers_to(path: Path, predict: Predictor, preprocessing: Preprocessing) -> Accuracy:
    """Which images of a file a model names rightly.

    Args:
        path: what `pipeline.data.facts.write_images` wrote.
        predict: from prepared images to logits.
        preprocessing: of the model.
    """
    images = read_images(path)
    right: NDArray[np.bool_] = (
        logits_of(predict, images.pixels, preprocessing).argmax(1) == images.labels
    )
    low, high = wilson_interval(int(right.sum()), len(right))
    digits = np.packbits(right).tobytes().hex()
    return Accuracy(float(right.mean()), len(right), low, high, digits, labels_of(path)[0])
