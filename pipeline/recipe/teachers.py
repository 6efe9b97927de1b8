"""What a recipe says of its teacher in short, spelled out: one that was trained here before, and
how one fine-tunes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundation.errors import CorruptFileError, MissingFileError, RecipeError
from foundation.files import user_path
from pipeline.recipe.noted import holds_answers, noted_network
from pipeline.recipe.sections.values import FROM_SCRATCH

FINE_TUNING: dict[str, Any] = {
    "epochs": 20, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "norm_weight_decay": 0.0,
    "warmup_epochs": 1.0, "head_epochs": 3, "layer_decay": 0.75, "patience": 5, "ema_epochs": 1.0,
}  # fmt: skip
"""What a fine-tuning is where a key of `teacher.training` is not written down: docs/how-to/teach.md
says where each is from."""

_RECORD = "run.json"
_WEIGHTS = Path("teacher", "weights.safetensors")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")


def spell_out_teacher(content: dict[str, Any]) -> str | None:
    """`model = "runs/birds"`, or the file of its weights, is short for all that these note of their
    network; a training that begins with trained weights is a fine-tuning where it says nothing
    else.

    Args:
        content: a recipe as it was read, not yet validated; changed in place.

    Returns:
        The file that told which network the teacher is; None where the recipe itself says it.

    Raises:
        MissingFileError: when a run has no finished teacher.
        CorruptFileError: when a file does not tell of which network its weights are.
        RecipeError: when it comes with weights, and others are named.
    """
    teacher = content.get("teacher")
    if not isinstance(teacher, dict):
        return None
    model, training = teacher.get("model"), teacher.get("training")
    if isinstance(training, dict):
        teacher["training"] = _spelled_out_training(training)
    return _spell_out_model(teacher) if isinstance(model, str) else None


def _spelled_out_training(training: dict[str, Any]) -> dict[str, Any]:
    weights = training.get("weights")
    if isinstance(weights, str) and weights != FROM_SCRATCH:
        # Whoever says it by the step need not unsay it by the epoch.
        own = {"ema_epochs": 0.0} if training.get("ema_decay") is not None else {}
        training = FINE_TUNING | own | training
    return {"keep": "best"} | training if training.get("patience") else training


def _spell_out_model(teacher: dict[str, Any]) -> str | None:
    word = teacher["model"]
    path = taught_weights(word)
    if path is None:
        return None
    if teacher.get("weights") is not None:
        raise RecipeError(
            f"teacher.weights: teacher {word} brings its own, but got {teacher['weights']!r}; "
            "leave one of them out"
        )
    noted = noted_network(path)
    if noted is None:
        raise CorruptFileError(
            f"{path}: does not tell of which network its weights are, as those of `compress teach` "
            "do; name that with --teacher (teacher.model), and these with --teacher-weights "
            "(teacher.weights)"
        )
    settings = teacher.get("settings")
    teacher |= {
        "model": noted.model,
        "weights": str(path),
        "settings": {**noted.settings, **(settings if isinstance(settings, dict) else {})},
    }
    if noted.head is not None:
        teacher.setdefault("head", noted.head)
    return str(path)


def taught_weights(word: str) -> Path | None:
    """The file of a teacher's weights that a word means; None of a model's name, or of answers.

    Args:
        word: a run folder, a file of weights, or anything else that a recipe's teacher may be.

    Raises:
        MissingFileError: when a run has no finished teacher.
    """
    path = user_path(word)
    if path.suffix.lower() in _SUFFIXES and path.is_file():
        return None if holds_answers(path) else path
    if not (path / _RECORD).is_file():
        return None
    if not (path / _WEIGHTS).is_file():
        raise MissingFileError(
            f"{path}: no finished teacher in this run yet; make it with `compress teach --run "
            f"{path}`, or name another"
        )
    return path / _WEIGHTS
