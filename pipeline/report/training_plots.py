"""Plots of the training: accuracy and losses epoch by epoch, and what is left of each stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.content import ReportContent
from pipeline.shown.pages.plots import Axis, DataTable, Mark, Plot, PlotSeries, Value


def training_plots(content: ReportContent) -> list[Plot]:
    """Validation accuracy and agreement over all epochs, then the losses of each stage; the
    teacher's own course before them, where it was fine-tuned or is all there is."""
    plots = [_accuracy(content), _agreement(content)] if content.stages else []
    if content.teacher_training and (content.head_training or not content.stages):
        plots.insert(0, _teachers_accuracy(content, content.teacher_training))
    return [plot for plot in plots if plot] + [_losses(stage) for stage in content.stages]


def _teachers_accuracy(content: ReportContent, training: Mapping[str, Any]) -> Plot | None:
    head = content.head_training
    start = head["history"][-1]["epoch"] if head else 0
    parts = [("its new head alone", _epochs(head, 0))] if head else []
    parts.append(("all of it", _epochs(training, start)))
    rows: list[list[Value]] = [
        [name, epoch, value] for name, points in parts for epoch, value in points
    ]
    if all(value is None for *_, value in rows):
        return None
    kept = training["stage"].get("keep") == "best"
    marks = [Mark("kept", x=start + training["best"]["epoch"])] if kept else []
    caption = "Validation accuracy of the teacher"
    caption += "; the upright line is the epoch that was kept." if kept else "."
    return Plot(
        "teacher-by-epoch", "The teacher, epoch by epoch",
        caption,
        Axis("epoch", low=0), Axis("validation top-1, %"),
        [PlotSeries(name, points) for name, points in parts],
        DataTable(["phase", "epoch", "validation top-1, %"], rows), marks,
    )  # fmt: skip


def _accuracy(content: ReportContent) -> Plot | None:
    series, rows, ends = list[PlotSeries](), list[list[Value]](), list[Mark]()
    start = 0
    for stage in content.stages:
        points = _epochs(stage, start)
        name = f"{stage['index']} {stage['name']}"
        series.append(PlotSeries(name, points))
        rows += [[name, epoch, value] for epoch, value in points]
        start += stage["history"][-1]["epoch"]
        ends.append(Mark(f"end of {stage['index']}", x=start))
    if content.alone_training is not None:
        points = _epochs(content.alone_training, 0)
        series.append(PlotSeries("alone, on the labels", points, dashed=True, colour="quiet"))
        rows += [["alone", epoch, value] for epoch, value in points]
    if all(value is None for *_, value in rows):
        return None
    teacher = content.networks.get("teacher", {}).get("validation")
    level = [Mark("teacher", y=100 * teacher["top1"])] if teacher else []
    caption = "Validation accuracy through the stages; upright lines are their ends."
    if teacher:
        caption += f" The teacher's, {100 * teacher['top1']:.2f} %, is the lying line."
    return Plot(
        "accuracy-by-epoch", "Accuracy, epoch by epoch", caption,
        Axis("epoch, all stages", low=0), Axis("validation top-1, %"), series,
        DataTable(["stage", "epoch", "validation top-1, %"], rows), [*ends[:-1], *level],
    )  # fmt: skip


def _agreement(content: ReportContent) -> Plot | None:
    """How often the student answers images without labels as the teacher does."""
    series, rows, start = list[PlotSeries](), list[list[Value]](), 0
    for stage in content.stages:
        points = _epochs(stage, start, "val_agreement")
        name = f"{stage['index']} {stage['name']}"
        series.append(PlotSeries(name, points))
        rows += [[name, epoch, value] for epoch, value in points]
        start += stage["history"][-1]["epoch"]
    if all(value is None for *_, value in rows):
        return None
    return Plot(
        "agreement-by-epoch", "Agreement with the teacher, epoch by epoch",
        "Validation images without labels that the student answers as the teacher does. That is "
        "no accuracy: where the teacher is wrong, who agrees is wrong too.",
        Axis("epoch, all stages", low=0), Axis("answered as the teacher does, %"), series,
        DataTable(["stage", "epoch", "answered as the teacher does, %"], rows),
    )  # fmt: skip


def _epochs(training: Mapping[str, Any], start: int, figure: str = "val_top1") -> list[list[Value]]:
    shares = [record.get(figure) for record in training["history"]]
    return [
        [start + record["epoch"], None if share is None else 100 * share]
        for record, share in zip(training["history"], shares, strict=True)
    ]


def _losses(stage: Mapping[str, Any]) -> Plot:
    history = stage["history"]
    names = list(history[-1]["losses"])
    series = [
        PlotSeries(
            "all together" if name == "loss" else name,
            [[record["epoch"], record["losses"][name]] for record in history],
            dashed=name == "loss",
            colour="quiet" if name == "loss" else None,
        )
        for name in names
    ]
    rows: list[list[Value]] = [
        [record["epoch"], *(record["losses"][name] for name in names), record["seconds"]]
        for record in history
    ]
    title = f"Losses of stage {stage['index']}: {stage['name']}"
    caption = "The losses by name, as they are weighted in the sum."
    return Plot(
        f"losses-{stage['index']}", title, caption,
        Axis("epoch of the stage", low=0), Axis("weighted loss", log=True, offers_log=True),
        series, DataTable(["epoch", *names, "seconds"], rows), height=280,
    )  # fmt: skip


def retention_table(retention: Mapping[str, Any]) -> DataTable:
    """A row a stage: its own loss after it and after each later one, then the accuracy."""
    stages = retention["stages"]
    rows: list[list[Value]] = [
        [f"loss of {name}", *losses] for name, losses in zip(stages, retention["loss"], strict=True)
    ]
    top1 = [None if share is None else 100 * share for share in retention["top1"]]
    rows.append(["validation top-1, %", *top1])
    return DataTable(["", *(f"after {name}" for name in stages)], rows)


def retained_shades(retention: Mapping[str, Any]) -> list[list[float]]:
    """How much of a stage's loss each cell has gained since its own stage: the logarithm to base 2,
    within −1..1; below zero it fell, which is better."""
    shades = []
    for row, losses in enumerate(retention["loss"]):
        own = losses[row]
        shades.append([_shade(own, loss) for loss in losses])
    return shades


def _shade(own: float | None, loss: float | None) -> float:
    if not own or not loss or own < 0 or loss < 0:
        return 0.0
    return float(max(-1.0, min(1.0, math.log2(loss / own))))


def compared_curves(runs: Sequence[ReportContent], names: Sequence[str]) -> Plot | None:
    """The students of several runs, validation accuracy over all epochs."""
    series, rows = list[PlotSeries](), list[list[Value]]()
    for content, name in zip(runs, names, strict=True):
        points, start = list[list[Value]](), 0
        for stage in content.stages:
            points += _epochs(stage, start)
            start += stage["history"][-1]["epoch"]
        if any(value is not None for _, value in points):
            series.append(PlotSeries(name, points))
            rows += [[name, *point] for point in points]
    if not series:
        return None
    return Plot(
        "accuracy-by-epoch", "Accuracy, epoch by epoch",
        "Validation accuracy of each run's student.",
        Axis("epoch, all stages", low=0), Axis("validation top-1, %"), series,
        DataTable(["run", "epoch", "validation top-1, %"], rows),
    )  # fmt: skip
