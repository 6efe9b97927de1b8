"""Sequential Multi-Stage Knowledge Distillation (SMSKD, arXiv 2601.15657) for PyTorch.

A library on any pair of `nn.Module` and any iterable of (images, labels) batches:

    from smskd import Stage, distill

    distill(teacher, student, loader, [Stage("fitnet"), Stage("kd")], "out")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smskd.batch import Batch
    from smskd.distillation import StageTeacher, distill, train_alone
    from smskd.engine import Engine
    from smskd.evaluation import evaluate
    from smskd.fine_tuning.phases import FineTuning, fine_tune
    from smskd.listening import Listener
    from smskd.methods import METHODS, Method, Progress
    from smskd.retention import retention_matrix
    from smskd.stage import MethodSpec, Stage, stage_folder
    from smskd.teaching.mixed import MixedTeacher, MixMember
    from smskd.teaching.teacher_views import TeacherViews, keep_teacher_views
    from smskd.weightings import WEIGHTINGS

__all__ = [
    "METHODS",
    "WEIGHTINGS",
    "Batch",
    "Engine",
    "FineTuning",
    "Listener",
    "Method",
    "MethodSpec",
    "MixMember",
    "MixedTeacher",
    "Progress",
    "Stage",
    "StageTeacher",
    "TeacherViews",
    "distill",
    "evaluate",
    "fine_tune",
    "keep_teacher_views",
    "retention_matrix",
    "stage_folder",
    "train_alone",
]

_HOME = {
    "METHODS": "methods",
    "WEIGHTINGS": "weightings",
    "Batch": "batch",
    "Engine": "engine",
    "FineTuning": "fine_tuning.phases",
    "Listener": "listening",
    "Method": "methods",
    "MethodSpec": "stage",
    "MixMember": "teaching.mixed",
    "MixedTeacher": "teaching.mixed",
    "Progress": "methods",
    "Stage": "stage",
    "StageTeacher": "distillation",
    "TeacherViews": "teaching.teacher_views",
    "distill": "distillation",
    "evaluate": "evaluation",
    "fine_tune": "fine_tuning.phases",
    "keep_teacher_views": "teaching.teacher_views",
    "retention_matrix": "retention",
    "stage_folder": "stage",
    "train_alone": "distillation",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that a recipe can be read (it speaks of stages and engines) without torch.
    if name not in _HOME:
        raise AttributeError(f"module 'smskd' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smskd.{_HOME[name]}"), name)
