"""Adopt: an ONNX graph that is no classifier becomes a run's student, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.graphs.adopting_any import adopt_graph as adopt_confined
from export.graphs.any_graph import inputs_of
from foundation.bundle import TensorSpec
from foundation.errors import MissingFileError, RecipeError, UsageError
from foundation.files import replacing, sha256_of
from foundation.records import as_dict
from pipeline.data.facts import public_name
from pipeline.data.sample_files import (
    CALIBRATION,
    EVALUATION,
    PROBE,
    REFERENCE,
    GraphFacts,
    SampleFacts,
    divided,
    write_graph_facts,
    write_sample_facts,
    write_samples,
)
from pipeline.data.samples import sample_source
from pipeline.recipe.file import RecipeFile
from pipeline.recipe.sections.export import AUTO
from pipeline.recipe.sections.networks import StudentRecipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder
from pipeline.training.foreign_models import is_graph


def check_as_graph(file: RecipeFile) -> None:
    """Make sure that nothing is asked of a graph that only classifiers have.

    Raises:
        UsageError: when the network is no ONNX file.
        RecipeError: when something is.
    """
    recipe = file.recipe
    if not is_graph(recipe.student.model) or recipe.student.weights is not None:
        raise UsageError(
            f"{recipe.student.weights or recipe.student.model}: is no ONNX file, and samples "
            f"({recipe.data.name}) go with one; export it to ONNX first, or give pictures"
        )
    check_graph_export(recipe, file)
    if recipe.metric is not None:
        raise RecipeError(
            f"{file.where('metric')}: {recipe.metric} judges classifiers; what says what a graph "
            "is worth is a scorer (--scorer): leave it out"
        )
    given: dict[tuple[str, str], Any] = {
        ("student", "expect_top1"): recipe.student.expect_top1,
        ("student", "prune"): recipe.student.prune,
        ("data", "classes"): recipe.data.classes,
        ("data", "image_size"): recipe.data.image_size,
        ("data", "channels"): recipe.data.channels,
        ("data", "mean"): recipe.data.mean,
        ("data", "std"): recipe.data.std,
        ("data.preprocessing", "source"): recipe.data.preprocessing.source,
    }
    for (section, key), value in given.items():
        if value is not None:
            raise RecipeError(
                f"{file.where(*section.split('.'), key)}: goes with a classifier of pictures; a "
                "graph takes its arrays as they are: leave it out"
            )


def check_graph_export(recipe: Recipe, file: RecipeFile) -> None:
    """Make sure that a graph's bundles can be chosen as is asked.

    Raises:
        RecipeError: when one is to be chosen by its latency, or a limit is set that nothing tells.
    """
    export = recipe.export
    if export.precisions == [AUTO]:
        raise RecipeError(
            f"{file.where('export', 'precisions')}: what ships is chosen among classifiers alone; "
            "name the precisions of a graph, or leave them out for all that the target takes"
        )
    if export.max_drop is not None and export.scorer is None:
        raise RecipeError(
            f"{file.where('export', 'max_drop')}: a limit on what is lost needs somebody who says "
            "what a graph is worth; give a scorer (--scorer), or leave max_drop out: each output "
            "is then held against the original's"
        )


def graph_inputs(student: StudentRecipe) -> list[TensorSpec]:
    """What a recipe's graph takes.

    Raises:
        MissingFileError, CorruptFileError: when the file cannot be read.
        UnknownNameError, ExportError: as `export.graphs.any_graph.inputs_of`.
    """
    path = Path(student.model)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; name an ONNX model")
    return inputs_of(path, student.shapes)


def prepare_samples(run: RunFolder, recipe: Recipe, inputs: Sequence[TensorSpec]) -> None:
    """Leave a graph's samples in the run folder, by what they are for.

    Raises:
        DataLayoutError, CorruptFileError, MissingFileError: as their source has them.
    """
    source, scored = sample_source(recipe.data.name), recipe.export.scorer is not None
    shapes = [as_dict(spec) for spec in inputs]
    with run.step("data", samples=source.identity(), inputs=shapes, scored=scored) as step:
        if not step.needed:
            return
        most = recipe.data.calibration_images + recipe.data.evaluation_images
        samples = source.read(inputs, most if scored else recipe.data.calibration_images + 16)
        parts = divided(
            len(samples),
            recipe.data.split_seed,
            calibration=recipe.data.calibration_images,
            evaluation=recipe.data.evaluation_images if scored else None,
        )
        places = {CALIBRATION: parts.calibration, PROBE: parts.probe}
        if scored:
            places[EVALUATION] = parts.evaluation
        if parts.remark:
            step.remark(parts.remark)
        step.products = [
            write_samples(run.data / name, samples.part(chosen)) for name, chosen in places.items()
        ]
        counts = {name.removesuffix(".npz"): len(chosen) for name, chosen in places.items()}
        facts = SampleFacts(public_name(recipe.data.name), list(inputs), counts)
        step.products.append(write_sample_facts(run.data, facts))


def adopt_graph(run: RunFolder, recipe: Recipe) -> None:
    """Leave a graph in the run folder as the student, and what the file as it came gives for the
    probe.

    Raises:
        MissingFileError, CorruptFileError, UnknownNameError, ExportError: as
            `export.graphs.adopting_any.adopt_graph`.
    """
    path, probe = Path(recipe.student.model), run.data / PROBE
    shapes = recipe.student.shapes
    identity = {"model": sha256_of(path), "shapes": shapes, "probe": sha256_of(probe)}
    with run.step("adopt", **identity) as step:
        if step.needed:
            # One that does not fit leaves the one before it where it was.
            with (
                replacing(run.student_graph) as fresh,
                replacing(run.data / REFERENCE) as reference,
            ):
                adopted = adopt_confined(path, shapes, fresh, probe=probe, reference=reference)
            for line in adopted.remarks:
                step.remark(line)
            network = {"model": path.name, "parameters": adopted.parameters, "macs": None}
            networks: dict[str, Any] = run.record().get("networks", {})
            run.note(networks={**networks, "student": network}, adopted=path.name)
            facts = write_graph_facts(run.data, GraphFacts(adopted.outputs))
            step.products = [run.student_graph, run.data / REFERENCE, facts]
