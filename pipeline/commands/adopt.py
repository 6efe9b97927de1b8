"""`compress export` of a network that was trained elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundation.errors import CompressError
from pipeline.commands.export import bundle_outcome, check_metric, export_shown
from pipeline.data.samples import names_samples
from pipeline.preflight.names import check_export_names, check_names, check_samples
from pipeline.preflight.trust import check_code
from pipeline.recipe.file import RecipeFile
from pipeline.run_folder.folder import DEFAULT_ROOT, start_run
from pipeline.shown.console import at_work, progress_console, remarks_on
from pipeline.shown.outcome import Outcome
from pipeline.training.adopt import (
    adapt_data_to_graph,
    adopt,
    check_as_it_is,
    check_file_exists,
    check_is_no_graph,
)
from pipeline.training.network_classes import network_classes
from pipeline.training.prepare import TrainingData, prepare


def adopt_and_export(file: RecipeFile, path: Path | None) -> Outcome:
    """Bundles of a network that was trained elsewhere, or of any graph; a run folder is made for
    it."""
    path = path or DEFAULT_ROOT / file.recipe.name
    if names_samples(file.recipe.data.name):
        return _adopt_graph_and_export(file, path)
    check_is_no_graph(file)
    console = progress_console()
    check_as_it_is(file)
    check_code(file, path, remarks_on(console))
    check_names(file)
    check_file_exists(file.recipe.student)
    with at_work(console, "network: opened and looked at"):
        file, remarks = adapt_data_to_graph(file)
    with _remove_unless_adopted(path):
        run = start_run(path, file.recipe, remarks_on(console))
        with run.locked():
            data = TrainingData(file, network_classes(file.recipe.student))
            with at_work(console, "data: read and looked through"):
                prepare(run, data)
            check_metric(run, file.recipe)
            with at_work(console, "network: judged on the test images"):
                adopt(run, data, remarks)
            del data  # all of it lies in memory; the run folder has what is needed from here on
    with run.locked():
        folders = export_shown(run, file.recipe, console)
    return bundle_outcome(run, folders)


def _adopt_graph_and_export(file: RecipeFile, path: Path) -> Outcome:
    """The same for an ONNX graph that is no classifier, of which samples are given."""
    from pipeline.training.adopt_graph import (  # noqa: PLC0415 - onnx
        adopt_graph,
        check_as_graph,
        graph_inputs,
        prepare_samples,
    )

    console = progress_console()
    check_as_graph(file)
    check_code(file, path, remarks_on(console))
    check_export_names(file)
    check_samples(file)
    with at_work(console, "graph: opened and looked at"):
        inputs = graph_inputs(file.recipe.student)
    with _remove_unless_adopted(path):
        run = start_run(path, file.recipe, remarks_on(console))
        with run.locked():
            with at_work(console, "samples: read and looked through"):
                prepare_samples(run, file.recipe, inputs)
            with at_work(console, "graph: asked about the probe"):
                adopt_graph(run, file.recipe)
    with run.locked():
        folders = export_shown(run, file.recipe, console)
    return bundle_outcome(run, folders)


@contextmanager
def _remove_unless_adopted(path: Path) -> Iterator[None]:
    """A new run folder goes again with the mistake that it began with: the next try is another's,
    and `runs/` holds none that cannot be gone on with."""
    new = not path.exists()
    try:
        yield
    except (CompressError, OSError):
        if new:
            shutil.rmtree(path, ignore_errors=True)
        raise
