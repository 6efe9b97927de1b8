"""`compress report`: a page and a summary of what lies in run folders; without torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from foundation.errors import CompressError, CorruptFileError, UsageError
from foundation.records import as_dict
from pipeline.commands.outcomes import ReportOutcome
from pipeline.data.sample_files import holds_graph
from pipeline.run_folder.folder import SEARCH, RunFolder, open_run
from pipeline.shown.console import at_work, progress_console
from pipeline.shown.measurement_tables import measurement_table
from pipeline.shown.outcome import Outcome
from pipeline.shown.words import safe


def report_only(
    path: Path | None, out: Path | None = None, *, images: bool = True
) -> tuple[Outcome, CompressError | None]:
    """Write the report of a run, or of a search, from what lies in its folder.

    Args:
        path: the folder; None takes the one used last.
        out: where to write it; None takes that folder.
        images: whether small pictures of test images are put into the page.

    Returns:
        What came of it, and an error where what it rests on is not all as the run made it.
    """
    if path is not None and (path / SEARCH).is_file():
        return _report_of_search(path, out), None
    from pipeline.report.content import gather  # noqa: PLC0415
    from pipeline.report.terminal import shown_of  # noqa: PLC0415
    from pipeline.report.write import report  # noqa: PLC0415 - templates, which a gate needs not

    run = open_run(path)
    if holds_graph(run.data):
        return _graph_only(run, out)
    with run.locked(to_read=True), at_work(progress_console(), "report: drawn and written"):
        content = gather(run)
        written = report(run, out, content, images=images)
    measured = [measurement_table(content.measurements)] if content.measurements else []
    outcome = ReportOutcome(
        run=str(run.path), remarks=content.remarks, written=[str(file) for file in written]
    )
    shown = [*measured, *shown_of(content), *(safe(f"written: {file}") for file in written)]
    return Outcome(as_dict(outcome), shown), _in_doubt([run], [content.unvouched])


def _graph_only(run: RunFolder, out: Path | None) -> tuple[Outcome, CompressError | None]:
    """The report of a graph that is no classifier; as `report_only`."""
    from pipeline.report.graph_report import (  # noqa: PLC0415 - templates
        gather_graph,
        graph_tables,
        report_graph,
    )
    from pipeline.report.terminal import table_of_words  # noqa: PLC0415

    with run.locked(to_read=True), at_work(progress_console(), "report: drawn and written"):
        content = gather_graph(run)
        written = report_graph(run, content, out)
    outcome = ReportOutcome(
        run=str(run.path), remarks=content.remarks, written=[str(file) for file in written]
    )
    tables = [table_of_words(title, words) for title, words in graph_tables(content).items()]
    shown: list[Any] = [*tables, *(safe(f"written: {file}") for file in written)]
    return Outcome(as_dict(outcome), shown), _in_doubt([run], [content.unvouched])


def report_several(
    paths: Sequence[Path], out: Path | None = None
) -> tuple[Outcome, CompressError | None]:
    """Write one report of several runs side by side.

    Args:
        paths: the run folders.
        out: where to write it; None takes the folder that the first run lies in.

    Returns:
        As `report_only`; `run` is the first, and `runs` are all.
    """
    from pipeline.report import write  # noqa: PLC0415
    from pipeline.report.content import gather  # noqa: PLC0415
    from pipeline.report.terminal import headline_lines  # noqa: PLC0415

    runs = [open_run(path) for path in dict.fromkeys(paths)]
    for run in runs:
        if holds_graph(run.data):
            raise UsageError(
                f"{run.path}: is of a graph that is no classifier, and runs of classifiers alone "
                "are shown side by side; name it alone"
            )
    with ExitStack() as locks:
        for run in runs:
            locks.enter_context(run.locked(to_read=True))
        with at_work(progress_console(), "report: drawn and written"):
            contents = [gather(run) for run in runs]
            place = out or runs[0].path.absolute().parent
            written = write.report_several(runs, contents, place)
    outcome = ReportOutcome(
        run=str(runs[0].path),
        runs=[str(run.path) for run in runs],
        remarks={},
        written=[str(file) for file in written],
    )
    lines = [
        line for run, content in zip(runs, contents, strict=True)
        for line in (safe(f"{run.path}:"), *headline_lines(content))
    ]  # fmt: skip
    shown = [*lines, *(safe(f"written: {file}") for file in written)]
    doubts = [content.unvouched for content in contents]
    return Outcome(as_dict(outcome), shown), _in_doubt(runs, doubts)


def _report_of_search(path: Path, out: Path | None) -> Outcome:
    from pipeline.search.folder import open_search  # noqa: PLC0415
    from pipeline.search.page import write_page  # noqa: PLC0415
    from pipeline.search.record import read_search_record  # noqa: PLC0415

    search = open_search(path)
    page = str(write_page(search, read_search_record(search), out))
    outcome = ReportOutcome(run=str(path), remarks={}, written=[page])
    return Outcome(as_dict(outcome), [safe(f"written: {page}")])


def _in_doubt(
    runs: Sequence[RunFolder], unvouched: Sequence[Sequence[str]]
) -> CorruptFileError | None:
    for run, lines in zip(runs, unvouched, strict=True):
        if lines:
            return CorruptFileError(
                f"{run.path}: the report is written, but rests on files that {run.record_path} "
                f"does not vouch for ({'; '.join(lines)}); put them back, or delete them and "
                "measure again with `compress bench`"
            )
    return None
