"""The plots of a summary, as PNG files beside it: what a pull request can show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from foundation.files import write_bytes
from pipeline.report.content import ReportContent

if TYPE_CHECKING:
    from pipeline.shown.pages.drawing import StillPlot

FRONT, WATERFALL = "report-front.png", "report-waterfall.png"

# To be raised when another picture is drawn of the same figures.
_DRAWING = "1"


def write_pictures(folder: Path, content: ReportContent) -> dict[str, str]:
    """Draw what is not there yet as these figures would have it.

    Drawing takes longer than all the rest of a report, so what was drawn of the same figures stays.

    Returns:
        The files' names by what they show; none of what there is nothing to show of.
    """
    points = [
        [m.bundle.name, m.bundle.role, m.bundle.format, m.bundle.precision, m.latency_ms.p50,
         m.accuracy.top1 if m.accuracy else None]
        for m in content.plain
    ]  # fmt: skip
    steps = [[asdict(step) for step in content.waterfall], content.shipped]

    def front() -> StillPlot | None:
        from pipeline.report.figures import accuracy_against_latency  # noqa: PLC0415 - matplotlib

        return accuracy_against_latency(content.plain)

    def waterfall() -> StillPlot | None:
        from pipeline.report import waterfall_figure  # noqa: PLC0415 - matplotlib

        return waterfall_figure.waterfall(content.waterfall, content.shipped)

    wanted: list[tuple[str, str, object, Callable[[], StillPlot | None]]] = [
        ("Test accuracy against the median latency of one image", FRONT, points, front),
        ("Accuracy, size and latency step by step", WATERFALL, steps, waterfall),
    ]
    return {
        words: name
        for words, name, figures, draw in wanted
        if _is_drawn(folder / name, figures, draw)
    }


def _is_drawn(path: Path, figures: object, draw: Callable[[], StillPlot | None]) -> bool:
    """Draw a picture where it is not there yet; whether it is there now."""
    text = json.dumps([_DRAWING, figures], default=dict)
    mark = hashlib.sha256(text.encode()).hexdigest()
    if _mark_of(path) == mark:
        return True
    plot = draw()
    if plot is None:
        path.unlink(missing_ok=True)
        return False
    write_bytes(path, plot.png(mark))
    return True


def _mark_of(path: Path) -> str | None:
    """What a picture says that it was drawn of; None where there is none."""
    if not path.is_file() or path.is_symlink():
        return None
    try:
        with Image.open(path) as image:
            return image.info.get("Source")
    except (OSError, SyntaxError, ValueError):
        return None
