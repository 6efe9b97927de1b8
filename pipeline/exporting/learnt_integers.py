"""The student of a run with the 8-bit numbers that its last stage trained it with."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import fx, nn

from export.learnt_quantization import LearntQuantization
from pipeline.data.facts import read_facts
from pipeline.exporting.learnt_stage import integer_stage, learnt_origin
from pipeline.run_folder.folder import RunFolder
from pipeline.training.networks import trained_student
from smskd.checkpoints.files import load_model, load_tensors
from smskd.quantization.integers import ActivationType, in_integers
from smskd.quantization.quantizing import quantized_with
from smskd.training.stage_files import RANGES, WEIGHTS


def learnt_integers(run: RunFolder) -> LearntQuantization | None:
    """What the INT8 bundles of a run's student are made of; None where no stage quantised.

    Nothing is loaded before a bundle needs it.

    Raises:
        MissingFileError: when the stage is not finished.
    """
    stage, origin = integer_stage(run), learnt_origin(run)
    if stage is None or origin is None:
        return None

    def network(kind: str) -> nn.Module:
        return in_integers(integer_student(run, stage), cast(ActivationType, kind))

    def float_network() -> nn.Module:
        student = trained_student(run)
        load_model(stage / WEIGHTS, student)
        return student.eval()

    return LearntQuantization(network, origin, float_network)


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
