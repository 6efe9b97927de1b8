"""A network with attention, whose export takes seconds and so is made once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import VisionTransformer

from export.graphs.to_onnx import export_onnx


@pytest.fixture(scope="session")
def attention_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT of one layer as FP32 ONNX."""
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 1, 2, 32, 64, num_classes=4)
    torch.nn.init.normal_(model.heads.head.weight)  # torchvision begins with zeros
    file = tmp_path_factory.mktemp("attention") / "vit.onnx"
    export_onnx(model, torch.zeros(1, 3, 32, 32), file, opset=20)
    return file
