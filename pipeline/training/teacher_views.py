"""What the teacher says about fixed views of the student's images: kept once, shared by all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.data.batches import TrainBatches
from pipeline.data.images import sample_of
from pipeline.recipe.file import recipe_values
from pipeline.recipe.sections.recipe import Recipe
from smskd.checkpoints.files import content_sha256
from smskd.listening import Listener
from smskd.pair import Pair
from smskd.teaching.teacher_views import TeacherViews, features_fit, keep_teacher_views
from smskd.teaching.teachers import live_teacher

_SAMPLED_IMAGES = 64
_SAMPLES_DEPEND_ON = {"split_seed", "val_fraction", "test_fraction", "student_fraction"}


def keep_views(
    root: Path,
    pair: Pair,
    batches: TrainBatches,
    recipe: Recipe,
    listener: Listener,
    *,
    prepared: Any = None,
) -> TeacherViews | None:
    """Ask the teacher about every fixed view, unless that was done before.

    Args:
        root: takes a folder for each combination of teacher, taps, samples, views and
            precision; runs and study arms that agree in these share it.
        pair: the trained teacher beside the student.
        batches: what the student learns from.
        recipe: what was asked.
        listener: is told of every view.
        prepared: how several teachers prepare for themselves what they are shown, as JSON values.

    Returns:
        What was kept; None when the recipe asks for no fixed views.

    Raises:
        NoSpaceError: when the disk is full.
    """
    if batches.views is None:
        return None
    made_from = _made_from(pair, batches, recipe)
    if prepared is not None:
        made_from["prepared"] = prepared
    limit = int(recipe.data.teacher_views_gb * 1e9)
    fit = features_fit(pair.teacher_shapes, batches.samples, batches.views, limit)
    # A folder tells how many views it holds, and whether features, so these have their part in it.
    named_after = {**made_from, "views": batches.views, "features": fit}
    key = hashlib.sha256(json.dumps(named_after, sort_keys=True).encode()).hexdigest()[:16]
    return keep_teacher_views(
        root / key,
        live_teacher(pair.teacher, recipe.engine),
        batches.view_batches,
        samples=batches.samples,
        views=batches.views,
        shapes=pair.teacher_shapes,
        made_from=made_from,
        feature_limit=limit,
        listener=listener,
    )


def _made_from(pair: Pair, batches: TrainBatches, recipe: Recipe) -> dict[str, Any]:
    """All that decides what the teacher says of a view, as JSON values."""
    sample = sample_of(batches.images, _SAMPLED_IMAGES).pixels
    return {
        "teacher": content_sha256(pair.teacher.model.state_dict()),
        "taps": list(pair.teacher.taps),
        # Wherever the dataset lies.
        "dataset": batches.fingerprint or recipe.data.name,
        "samples": recipe.data.model_dump(mode="json", include=_SAMPLES_DEPEND_ON),
        "labels": hashlib.sha256(batches.images.labels.tobytes()).hexdigest(),
        "images": hashlib.sha256(sample.tobytes()).hexdigest(),
        "image_shape": list(sample.shape[1:]),
        "augment": recipe_values(batches.augment),
        "kept_smaller": None if recipe.data.cache is None else (recipe.data.cache_side or 0),
        "view_seed": batches.view_seed,
        "framing": asdict(batches.framing),
        "teacher_preprocessing": asdict(batches.teacher),
        "precision": recipe.engine.precision,
    }
