"""What the teacher says about fixed views of the student's images: kept once, shared by all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.data.batches import TrainBatches
from pipeline.data.images import sample_of
from pipeline.recipe import Recipe
from pipeline.recipe_file import recipe_values
from smskd.checkpoint import content_sha256
from smskd.listening import Listener
from smskd.pair import Pair
from smskd.teacher_views import TeacherViews, keep_teacher_views
from smskd.teachers import live_teacher

_SAMPLED_IMAGES = 64


def keep_views(
    root: Path, pair: Pair, batches: TrainBatches, recipe: Recipe, listener: Listener
) -> TeacherViews | None:
    """Ask the teacher about every fixed view, unless that was done before.

    Args:
        root: takes a folder for each combination of teacher, taps, data, augmentation and
            precision; runs and study arms that agree in these share it.
        pair: the trained teacher beside the student.
        batches: what the student learns from.
        recipe: what was asked.
        listener: is told of every view.

    Returns:
        What was kept; None when the recipe asks for no fixed views.

    Raises:
        NoSpaceError: when the disk is full.
    """
    if batches.views is None:
        return None
    made_from = _made_from(pair, batches, recipe)
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    return keep_teacher_views(
        root / key,
        live_teacher(pair.teacher, recipe.engine),
        batches.view_batches,
        samples=batches.samples,
        views=batches.views,
        shapes=pair.teacher_shapes,
        made_from=made_from,
        feature_limit=int(recipe.data.teacher_views_gb * 1e9),
        listener=listener,
    )


def _made_from(pair: Pair, batches: TrainBatches, recipe: Recipe) -> dict[str, Any]:
    """All that decides what the teacher says, as JSON values."""
    sample = sample_of(batches.images, _SAMPLED_IMAGES).pixels.tobytes()
    return {
        "teacher": content_sha256(pair.teacher.model.state_dict()),
        "taps": list(pair.teacher.taps),
        "data": recipe_values(recipe.data),
        "labels": hashlib.sha256(batches.images.labels.tobytes()).hexdigest(),
        "images": hashlib.sha256(sample).hexdigest(),
        "precision": recipe.engine.precision,
    }
