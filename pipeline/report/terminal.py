"""What the terminal shows of a report: what ships and why, and the waterfall."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from pipeline.exporting.choice import Shipping
from pipeline.gating.metrics import Figure
from pipeline.report.content import ReportContent
from pipeline.report.headline import Headline
from pipeline.report.tables import (
    Words,
    estimate_table,
    shipping_table,
    waterfall_table,
)
from pipeline.shown.words import number, safe, signed


def shown_of(content: ReportContent) -> list[RenderableType]:
    """Tables and lines, in order."""
    steps = table_of_words("Step by step", waterfall_table(content.waterfall, content.shipped))
    estimates = estimate_table(content)
    computed = [table_of_words("Estimates: computed, not measured", estimates)] if estimates else []
    shipped = shown_of_shipping(content.shipping) if content.shipping else []
    outdated = [
        f"left out, exported anew and not measured since: {safe(name)}" for name in content.outdated
    ]
    unvouched = [f"[yellow]in doubt[/yellow]: {safe(line)}" for line in content.unvouched]
    return [steps, *computed, *shipped, *outdated, *headline_lines(content), *unvouched]


def headline_lines(content: ReportContent) -> list[str]:
    """The bundle to ship against what it stands in for, each doubt about it, and what distillation
    gained, a line each."""
    lines = [] if content.headline is None else _lines_of(content.headline)
    gain = content.gain
    if gain is not None:
        lines.append(
            f"distillation: {signed(gain.points)} points of test top-1 over the same student "
            f"trained alone on the labels ({number(gain.alone, 2)} → {number(gain.distilled, 2)} %)"
        )
    return lines


def _lines_of(headline: Headline) -> list[str]:
    shipped, baseline = headline.shipped, headline.baseline
    line = f"[bold]{safe(shipped.bundle.name)}[/bold]"
    if baseline is None:
        line += f": {number(shipped.latency_ms.p50, 3)} ms for an image"
    else:
        line += (
            f": {_times(headline.speedup)}× as fast as {safe(baseline.bundle.name)}"
            f" ({safe(headline.interval)}), {number(headline.shrink, 1)}× as small, "
            f"{signed(headline.change)} points of test top-1"
        )
        line += f" ({headline.change_interval})" if headline.change_interval else ""
    return [line, *(f"[yellow]in doubt[/yellow]: {safe(doubt)}" for doubt in headline.doubts)]


def _times(figure: Figure | None) -> str:
    return number(figure.value if figure else None, 2)


def shown_of_shipping(shipping: Shipping) -> list[RenderableType]:
    """The candidates, the choice among them and its reason."""
    lines = [f"[bold]ships: {safe(shipping.chosen)}[/bold]", safe(shipping.reason)]
    if shipping.advice:
        lines.append(f"to try next: {safe(shipping.advice)}")
    lines += [f"note: {safe(note)}" for note in shipping.notes]
    return [table_of_words("Candidates", shipping_table(shipping)), *lines]


def table_of_words(title: str, words: Words) -> Table:
    """A table of words on the terminal."""
    table = Table(title=title, title_justify="left")
    table.add_column(words.heads[0], no_wrap=True)
    for head, left in list(zip(words.heads, words.prose, strict=True))[1:]:
        table.add_column(head, justify="left" if left else "right")
    for row in words.rows:
        style = "bold" if row[0] == words.marked else None
        table.add_row(*map(safe, row), style=style)
    return table
