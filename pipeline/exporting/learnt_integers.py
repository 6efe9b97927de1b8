"""The student of a run with the 8-bit numbers that its last stage trained it with."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import fx, nn

from export.learnt_quantization import LearntQuantization
from foundation.files import sha256_of
from pipeline.data.facts import read_facts
from pipeline.run_folder.folder import RunFolder
from pipeline.training.networks import trained_student
from smskd.checkpoints.files import load_model, load_tensors
from smskd.distillation import stage_folder
from smskd.quantization.integers import ActivationType, in_integers
from smskd.quantization.quantizing import quantized_with
from smskd.training.results import RANGES, WEIGHTS


def learnt_integers(run: RunFolder) -> LearntQuantization | None:
    """What the INT8 bundles of a run's student are made of; None where no stage quantised.

    Nothing is loaded before a bundle needs it.

    Raises:
        MissingFileError: when the stage is not finished.
    """
    stage = integer_stage(run)
    if stage is None:
        return None

    def network(kind: str) -> nn.Module:
        return in_integers(integer_student(run, stage), cast(ActivationType, kind))

    def float_network() -> nn.Module:
        student = trained_student(run)
        load_model(stage / WEIGHTS, student)
        return student.eval()

    origin = {
        "stage": stage.name,
        "weights_sha256": sha256_of(stage / WEIGHTS),
        "ranges_sha256": sha256_of(stage / RANGES),
    }
    return LearntQuantization(network, origin, float_network)


def integer_stage(run: RunFolder) -> Path | None:
    """The folder of the stage that trained the student with 8-bit numbers, if one did."""
    recipe = run.recipe()
    last = run.stages / stage_folder(len(recipe.stages), recipe.stages[-1])
    return last if recipe.learns_integers else None


def integer_student(run: RunFolder, stage: Path) -> fx.GraphModule:
    """The run's student with the 8-bit numbers of that stage, in evaluation mode.

    Raises:
        MissingFileError: when the stage is not finished.
        WeightsMismatchError: when its ranges are of another network.
    """
    student, shape = trained_student(run), read_facts(run.data).preprocessing
    load_model(stage / WEIGHTS, student)
    example = torch.zeros(2, shape.channels, shape.height, shape.width)
    ranges = load_tensors(stage / RANGES)[0]
    return quantized_with(student, example, ranges, str(stage / RANGES))
