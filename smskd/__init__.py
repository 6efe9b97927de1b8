"""Sequential Multi-Stage Knowledge Distillation (SMSKD, arXiv 2601.15657) for PyTorch.

A library on any pair of `nn.Module` and any iterable of (images, labels) batches:

    from smskd import Stage, distill

    distill(teacher, student, loader, [Stage("kd"), Stage("at"), Stage("rkd")], "out")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smskd.distillation import distill, stage_folder, train_alone
    from smskd.engine import Engine
    from smskd.evaluation import evaluate
    from smskd.listening import Listener
    from smskd.methods import METHODS, Method, Progress
    from smskd.stage import MethodSpec, Stage
    from smskd.weightings import WEIGHTINGS

__all__ = [
    "METHODS",
    "WEIGHTINGS",
    "Engine",
    "Listener",
    "Method",
    "MethodSpec",
    "Progress",
    "Stage",
    "distill",
    "evaluate",
    "stage_folder",
    "train_alone",
]

_HOME = {
    "METHODS": "methods",
    "WEIGHTINGS": "weightings",
    "Engine": "engine",
    "Listener": "listening",
    "Method": "methods",
    "MethodSpec": "stage",
    "Progress": "methods",
    "Stage": "stage",
    "distill": "distillation",
    "evaluate": "evaluation",
    "stage_folder": "distillation",
    "train_alone": "distillation",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that a recipe can be read (it speaks of stages and engines) without torch.
    if name not in _HOME:
        raise AttributeError(f"module 'smskd' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smskd.{_HOME[name]}"), name)
