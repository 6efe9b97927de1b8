"""The study's plots, as SVG text that stands in the page itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.shown.pages.drawing import draw_axes, draw_figure
from pipeline.study.findings import ArmFindings
from pipeline.study.statistics import loss_ratios

_DOT, _MEAN, _TEACHER, _GUIDE = "#8fb3d9", "#1f2733", "#5b6472", "#b6bcc6"
_UP, _DOWN, _TOTAL = "#2f8f5b", "#b3261e", "#2563a8"
_LINES = ("-", "--", ":")
_LARGEST_RATIO = 4.0


def ablation(arms: Sequence[ArmFindings], teacher: float | None, baseline: str) -> str:
    """Every seed's test accuracy, with mean and deviation, a row an arm.

    Args:
        arms: in the order of the table.
        teacher: mean test top-1 of the teachers, 0..1.
        baseline: the arm whose mean is drawn through.
    """

    def draw(axes: Axes) -> None:
        for row, findings in enumerate(arms):
            dots = [100 * run.test_top1 for run in findings.runs]
            rows = row + 0.16 * _fan(len(dots))
            axes.plot(dots, rows, "o", color=_DOT, markersize=5, zorder=2)
            deviation = None if findings.test.sd is None else 100 * findings.test.sd
            axes.errorbar(
                100 * findings.test.mean, row, xerr=deviation, fmt="D", color=_MEAN,
                markersize=5, capsize=4, linewidth=1.4, zorder=3,
            )  # fmt: skip
            if findings.arm.name == baseline:
                axes.axvline(100 * findings.test.mean, color=_GUIDE, linewidth=1, linestyle=":")
        if teacher is not None:
            axes.axvline(100 * teacher, color=_TEACHER, linewidth=1, linestyle="--")
        axes.set_yticks(range(len(arms)), [findings.arm.name for findings in arms])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"test top-1, %  (dashed: teacher; dotted: mean of {baseline})")

    return draw_axes(draw, "ablation", width=7.4, height=1.0 + 0.36 * len(arms))


def learning_curves(arms: Sequence[ArmFindings]) -> str:
    """Mean validation accuracy over the budget with a band of one deviation, a line an arm."""

    def draw(axes: Axes) -> None:
        lowest = []
        colours = mpl.colormaps["tab10"].colors  # type: ignore[attr-defined]
        for number, findings in enumerate(arms):
            epochs, curves = _curves(findings)
            mean, sd = curves.mean(0), curves.std(0)
            colour, style = colours[number % 10], _LINES[number // 10 % len(_LINES)]
            axes.plot(epochs, mean, style, color=colour, linewidth=1.5, label=findings.arm.name)
            axes.fill_between(epochs, mean - sd, mean + sd, color=colour, alpha=0.12, linewidth=0)
            lowest.append(np.quantile(mean, 0.1))
        # The first epochs of all arms lie far below; what tells arms apart lies above.
        axes.set_ylim(bottom=max(min(lowest) - 5, 0))
        axes.set_xlabel("epoch, whole budget")
        axes.set_ylabel("validation top-1, %")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)

    return draw_axes(draw, "curves", width=7.4, height=3.6)


def retention_maps(arms: Sequence[ArmFindings]) -> str:
    """Each stage's own loss after it and after every later stage, and the accuracy below it."""
    shown = [findings for findings in arms if findings.retention]
    if not shown:
        return ""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, findings in zip(panels, shown, strict=True):
            assert findings.retention is not None
            _draw_map(axes, findings.retention, findings.arm.name)
        panels[0].set_ylabel("loss of stage")

    stages = max(len(findings.arm.stages) for findings in shown)
    return draw_figure(draw, "retention", width=7.4, height=1.4 + 0.62 * stages)


def waterfalls(arms: Sequence[ArmFindings]) -> str:
    """What each stage added to the validation accuracy, a panel an arm."""
    shown = [findings for findings in arms if len(findings.after_stage) > 1]
    if not shown:
        return ""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, findings in zip(panels, shown, strict=True):
            _draw_waterfall(axes, findings)
        reached = [100 * top1 for findings in shown for top1 in findings.after_stage]
        margin = max(max(reached) - min(reached), 1.0)
        panels[0].set_ylim(max(min(reached) - margin, 0), max(reached) + 0.35 * margin)
        panels[0].set_ylabel("validation top-1, %")

    return draw_figure(draw, "waterfall", width=7.4, height=3.2)


def _curves(findings: ArmFindings) -> tuple[list[int], Any]:
    """The epochs that are known of all runs, and the accuracies there, in %, a row a run."""
    known = [
        {
            point["epoch"]: point["val_top1"]
            for point in run.history
            if point["val_top1"] is not None
        }
        for run in findings.runs
    ]
    epochs = sorted(set.intersection(*map(set, known)))
    return epochs, np.array([[100 * curve[epoch] for epoch in epochs] for curve in known])


def _fan(count: int) -> Any:
    """Small offsets that keep dots of equal value apart."""
    return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)


def _draw_map(axes: Axes, retention: dict[str, Any], title: str) -> None:
    names, ratios = retention["stages"], loss_ratios(retention["loss"])
    cells = np.array([[np.nan if cell is None else cell for cell in row] for row in ratios])
    axes.imshow(
        np.log(np.clip(cells.astype(float), 1 / _LARGEST_RATIO, _LARGEST_RATIO)),
        cmap="RdBu_r", vmin=-np.log(_LARGEST_RATIO), vmax=np.log(_LARGEST_RATIO), aspect="auto",
        alpha=0.55,
    )  # fmt: skip
    for row, values in enumerate(retention["loss"]):
        for column, value in enumerate(values):
            if value is not None:
                ratio = ratios[row][column]
                words = f"{value:.3g}" + ("" if ratio is None else f"\n×{ratio:.2f}")
                axes.text(column, row, words, ha="center", va="center", fontsize=8.5)
    after = [
        f"{name}\n{100 * top1:.1f} %" for name, top1 in zip(names, retention["top1"], strict=True)
    ]
    axes.set_xticks(range(len(names)), after)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("measured after stage; validation top-1")
    axes.set_title(title, fontsize=10)
    axes.grid(visible=False)


def _draw_waterfall(axes: Axes, findings: ArmFindings) -> None:
    reached = [100 * top1 for top1 in findings.after_stage]
    names = [f"{place}-{stage.name}" for place, stage in enumerate(findings.arm.stages, start=1)]
    axes.bar(0, reached[0], color=_TOTAL, width=0.6)
    _label(axes, 0, reached[0], f"{reached[0]:.1f}")
    for place, (before, after) in enumerate(pairwise(reached), start=1):
        gain = after - before
        axes.bar(place, gain, bottom=before, color=_UP if gain >= 0 else _DOWN, width=0.6)
        axes.plot([place - 1.3, place + 0.3], [before, before], color=_GUIDE, linewidth=0.8)
        _label(axes, place, max(before, after), f"{gain:+.1f}".replace("-", "−"))
    axes.bar(len(reached), reached[-1], color=_TOTAL, width=0.6)
    _label(axes, len(reached), reached[-1], f"{reached[-1]:.1f}")
    axes.set_xticks(range(len(reached) + 1), [*names, "end"])
    axes.set_title(findings.arm.name, fontsize=10)
    axes.grid(visible=False, axis="x")


def _label(axes: Axes, place: float, height: float, words: str) -> None:
    axes.annotate(
        words, (place, height), ha="center", fontsize=9, xytext=(0, 3), textcoords="offset points"
    )
