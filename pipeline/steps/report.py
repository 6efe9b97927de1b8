"""Report: one page to look at, and a summary for a pull request."""

from __future__ import annotations

from pathlib import Path

from foundation.files import write_text
from pipeline.report.content import gather
from pipeline.report.render import render_html, render_markdown
from pipeline.runs import RunFolder


def report(run: RunFolder) -> list[Path]:
    """Write report.html and report.md from what lies in the run folder."""
    content = gather(run)
    page, summary = run.path / "report.html", run.path / "report.md"
    write_text(page, render_html(content))
    write_text(summary, render_markdown(content))
    return [page, summary]
