"""Measurements as tables, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from deploy_targets.device.messages import SUSPECT
from deploy_targets.measurement import Measurement
from pipeline.shown.measurements import Cell, MeasuredTable, measured_table, start_table
from pipeline.shown.words import safe


def measurement_table(measurements: Sequence[Measurement]) -> Table:
    """Every bundle's figures, a row each; the teacher's first."""
    return _figures(measured_table(measurements))


def process_table(measurements: Sequence[Measurement]) -> Table:
    """How every bundle's process began, and its memory; a row each, the teacher's first."""
    return _figures(start_table(measurements))


def _figures(measured: MeasuredTable) -> Table:
    table = Table(
        title=measured.title, title_justify="left", box=SIMPLE_HEAD,
        caption="\n".join(map(safe, measured.notes)), caption_justify="left",
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for number_of_column, head in enumerate(measured.heads):
        table.add_column(head, justify="right" if number_of_column else "left", overflow="fold")
    for row in measured.rows:
        table.add_row(*map(_two_lines, row))
    return table


def _two_lines(cell: Cell) -> str:
    words = safe(cell.words)
    if words == SUSPECT:
        words = f"[yellow]{words}[/]"
    return f"{words}\n[dim]{safe(cell.interval)}[/]" if cell.interval else words
