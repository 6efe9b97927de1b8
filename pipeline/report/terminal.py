"""What the terminal shows of a report: what ships and why, and the waterfall."""

from __future__ import annotations

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from pipeline.report.content import ReportContent
from pipeline.report.tables import Words, estimate_table, shipping_table, waterfall_table
from pipeline.shipping import Shipping


def shown_of(content: ReportContent) -> list[RenderableType]:
    """Tables and lines, in order."""
    steps = _table("Step by step", waterfall_table(content.waterfall, content.shipped))
    estimates = estimate_table(content)
    computed = [_table("Estimates: computed, not measured", estimates)] if estimates else []
    shipped = shown_of_shipping(content.shipping) if content.shipping else []
    outdated = [
        f"left out, exported anew and not measured since: {escape(name)}"
        for name in content.outdated
    ]
    return [steps, *computed, *shipped, *outdated]


def shown_of_shipping(shipping: Shipping) -> list[RenderableType]:
    """The candidates, the choice among them and its reason."""
    lines = [f"[bold]ships: {escape(shipping.chosen)}[/bold]", escape(shipping.reason)]
    if shipping.advice:
        lines.append(f"to try next: {escape(shipping.advice)}")
    lines += [f"note: {escape(note)}" for note in shipping.notes]
    return [_table("Candidates", shipping_table(shipping)), *lines]


def _table(title: str, words: Words) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(words.heads[0], no_wrap=True)
    for head, left in list(zip(words.heads, words.prose, strict=True))[1:]:
        table.add_column(head, justify="left" if left else "right")
    for row in words.rows:
        style = "bold" if row[0] == words.marked else None
        table.add_row(*map(escape, row), style=style)
    return table
