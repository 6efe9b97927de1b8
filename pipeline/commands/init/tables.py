"""The tables of a recipe that `compress init` writes, each value given or marked as a guess."""

from __future__ import annotations

from pathlib import Path

from foundation.words import plain
from pipeline.commands.init import guesses
from pipeline.commands.init.plan import Plan, is_here, last_stage, next_commands
from pipeline.commands.init.text import CommentedTable, Key, recipe_text
from pipeline.models import usual_weights
from pipeline.training.foreign_models import is_graph


def text_of(plan: Plan, out: Path) -> str:
    opening = [
        f"{plan.images.name}: {len(plan.images.classes)} classes, from {plan.teacher.model} to "
        f"{plan.student} on {plan.target}.",
        'Written by `compress init`. What stands behind "guess" nobody said: change it where you '
        "know better. `compress run --help` and docs/ say what else there is.",
        *(f"  {plain(command)}" for command in next_commands(plan, out)),
    ]
    head = CommentedTable("", [Key("name", plan.name), Key("seed", 0)])
    return recipe_text(
        opening,
        [head, _data(plan), *_teacher(plan), _student(plan), *_stages(plan), *_release(plan)],
    )


def _guessed(plan: Plan, key: str) -> Key:
    return Key(key.rpartition(".")[2], plan.value(key), plan.why(key))


def _data(plan: Plan) -> CommentedTable:
    images = plan.images
    counts = ", ".join(f"{count:,} to {use}" for use, count in _uses(images.counts))
    keys = [Key("name", images.name), _guessed(plan, "data.image_size")]
    for place, name, inner in (
        ("data.preprocessing.source", "preprocessing", "source"),
        ("data.augment.preset", "augment", "preset"),
    ):
        if plan.why(place) is not None:
            keys.append(Key(name, {inner: plan.value(place)}, plan.why(place)))
    keys += [
        _guessed(plan, key)
        for key in ("data.val_fraction", "data.batch_size")
        if plan.why(key) is not None
    ]
    return CommentedTable("[data]", keys, f"{images.layout}; {counts}")


def _uses(counts: dict[str, int]) -> list[tuple[str, int]]:
    words = {"train": "learn from", "validation": "validate on", "test": "test on"}
    return [(words[part], count) for part, count in counts.items()]


def _teacher(plan: Plan) -> list[CommentedTable]:
    teacher = plan.teacher
    keys = [Key("model", teacher.model, plan.why("teacher.model"))]
    if teacher.weights is not None:
        keys.append(Key("weights", teacher.weights))
    if teacher.weights is not None or is_graph(teacher.model):
        keys.append(Key("expect_top1", 80.0, off=True))
        words = "what you know of its accuracy, in percent, is held against what it has here"
        return [CommentedTable("[teacher]", keys, f"expect_top1: {words}")]
    training = [_guessed(plan, "teacher.training.epochs"), Key("lr", _rate(plan))]
    words = 'Trained here first; weights of your own: weights = "FILE"'
    tables = [CommentedTable("[teacher]", keys, words)]
    usual = usual_weights(teacher.model)
    if usual is None:
        return [*tables, CommentedTable("[teacher.training]", training)]
    words = (
        f'With weights = "{usual}" in the place of these keys it begins with what others have '
        "trained, which takes fewer images and epochs (docs/how-to/teach.md)"
    )
    return [*tables, CommentedTable("[teacher.training]", training, words)]


def _rate(plan: Plan) -> float:
    return 0.01 if guesses.is_of_photos(plan.value("data.image_size")) else 0.05


def _student(plan: Plan) -> CommentedTable:
    keys = [Key("model", plan.student, plan.why("student.model"))]
    keys.append(Key("train_alone", True, off=True))
    words = "train_alone trains it without a teacher too, to tell what distillation gains"
    return CommentedTable("[student]", keys, words)


def _stages(plan: Plan) -> list[CommentedTable]:
    """What measured best (docs/results.md): features for a third of one schedule, then logits."""
    last = _guessed(plan, f"stages.{last_stage(plan.teacher)}.epochs")
    logits = [
        Key("methods", [{"name": "kd", "weight": 0.9, "settings": {"temperature": 4.0}}]),
        last,
        Key("ce_weight", 0.1),
    ]
    if is_graph(plan.teacher.model):
        return [CommentedTable("[[stages]]", [*logits, Key("lr", _rate(plan))])]
    first = _guessed(plan, "stages.0.epochs")
    features = [
        Key("methods", [{"name": "fitnet", "weight": 100.0}]),
        first,
        Key("hold_epochs", float(first.value)),
        Key("lr", _rate(plan)),
    ]
    logits += [
        Key("weighting", "tcp"),
        Key("normalise_weighting", True),
    ]
    words = (
        "What measured best (docs/results.md): features for a third of one schedule, then logits"
    )
    return [CommentedTable("[[stages]]", features, words), CommentedTable("[[stages]]", logits)]


def _release(plan: Plan) -> list[CommentedTable]:
    precisions = [word for word in ("fp32", "int8") if word in plan.profile.precisions]
    export = [Key("targets", [plan.target]), Key("precisions", precisions)]
    limits = [
        Key("drop_vs_teacher_points", {"max": 2.0}),
        Key("latency_p95_ms", {"max": 50.0}),
        Key("size_mb", {"max": 10.0}),
    ]
    tables = [CommentedTable("[export]", export, plan.profile.description)]
    if not is_here(plan.profile):
        host = Key("host", "ssh://pi@raspberrypi.local")
        words = "Where bundles are measured, once `compress device setup` was there:"
        tables.append(CommentedTable("[bench]", [host], words, off=True))
    words = "What a release must keep; with limits, a run ends with the gate's exit code:"
    return [*tables, CommentedTable("[gate.limits]", limits, words, off=True)]
