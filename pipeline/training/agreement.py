"""Images without labels: what the teacher answers to them, and how often a student answers alike.

That is agreement with the teacher, and is called so wherever it stands. It is no accuracy: where
the teacher is wrong, a student that agrees is wrong too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foundation.errors import CorruptFileError
from foundation.files import replacing
from foundation.statistics import wilson_interval
from pipeline.data.batches import EvaluationBatches
from pipeline.data.facts import AGREEMENT, write_images
from pipeline.data.images import ArrayImages, Labels, Relabelled, sample_of
from pipeline.run_folder.folder import RunFolder
from pipeline.training.networks import device_of
from pipeline.training.prepare import TrainingData
from smskd.evaluation import evaluate
from smskd.features.taps import evaluating

ANSWERS = "answers.npz"
"""In the teacher's folder: the class that it gives each image, by the part of the data."""


def keep_answers(run: RunFolder, teacher: nn.Module, data: TrainingData) -> list[Path]:
    """Ask the teacher about the images without labels that students are judged on.

    Args:
        run: takes its answers, and the test images with them for who measures bundles.
        teacher: the finished teacher, or what answers for it.
        data: has these images, or none.

    Returns:
        The files that were written.
    """
    unlabelled = data.splits.unlabelled
    if unlabelled is None:
        return []
    answers = {
        part: _answers_of(teacher, data.evaluation(images, "teacher"))
        for part, images in unlabelled.parts.items()
    }
    run.teacher.mkdir(parents=True, exist_ok=True)
    with replacing(run.teacher / ANSWERS) as temporary, temporary.open("wb") as file:
        np.savez(file, validation=answers["validation"], test=answers["test"])
    return [run.teacher / ANSWERS, _write_judged(run, data, answers["test"])]


def _write_judged(run: RunFolder, data: TrainingData, answers: Labels) -> Path:
    splits, most = data.splits, data.recipe.evaluation_images
    assert splits.unlabelled is not None
    answered = Relabelled(splits.for_student(splits.unlabelled.test), answers)
    parts = [sample_of(answered, most)]
    if splits.are_labelled:
        parts.insert(0, sample_of(splits.for_student(splits.test), most))
    pixels, labels = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("pixels", "labels")
    )
    return write_images(run.data / AGREEMENT, ArrayImages(pixels, labels))


def answered_batches(run: RunFolder, data: TrainingData) -> dict[str, EvaluationBatches]:
    """The images without labels as a student sees them, the teacher's answers for labels.

    Returns:
        Batches by the part, "validation" and "test"; none where all images have labels.

    Raises:
        CorruptFileError: when the teacher's answers cannot be read.
    """
    unlabelled = data.splits.unlabelled
    if unlabelled is None:
        return {}
    batches = {}
    for part, images in unlabelled.parts.items():
        seen = data.evaluation(images)
        labels = _kept_answers(run.teacher / ANSWERS, part, len(images.labels))
        batches[part] = EvaluationBatches(Relabelled(seen.images, labels), seen.preprocessing)
    return batches


def agreement_of(
    run: RunFolder, student: nn.Module, data: TrainingData, device: torch.device
) -> dict[str, Any]:
    """How often a student answers images without labels as the teacher does.

    Returns:
        By the part: "share" (0..1), its 95 % interval "low" and "high", and "n"; nothing where all
        images have labels.
    """
    return {
        part: _agreed(evaluate(student, batches, device))
        for part, batches in answered_batches(run, data).items()
    }


def _agreed(figures: dict[str, Any]) -> dict[str, Any]:
    share, n = figures["top1"], figures["n"]
    low, high = wilson_interval(round(share * n), n)
    return {"share": share, "n": n, "low": low, "high": high}


def _answers_of(teacher: nn.Module, batches: EvaluationBatches) -> Labels:
    device = device_of(teacher)
    with evaluating(teacher), torch.inference_mode():
        answers = [teacher(images.to(device)).argmax(1).cpu().numpy() for images, _ in batches]
    return np.concatenate(answers)


def _kept_answers(path: Path, part: str, count: int) -> Labels:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            answers = np.asarray(arrays[part], np.int64)
        if answers.shape != (count,):
            raise ValueError(f"{answers.size} answers of {count} {part} images")
    # numpy and zipfile raise a dozen kinds between them for a file that is spoilt.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(
            f"{path}: not the teacher's answers ({reason}); delete {path.parent} to ask it anew"
        ) from error
    return answers
