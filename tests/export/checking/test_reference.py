from __future__ import annotations

import numpy as np
import torch
from torch import nn

from export.checking.reference import full_float32, torch_predictor
from export.requests import ExportSource


def test_the_reference_is_fp32_whatever_precision_the_caller_allows(source: ExportSource) -> None:
    images = source.preprocessing.apply(source.probe_images)
    expected = torch_predictor(source.model)(images)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            loose = torch_predictor(source.model)(images)
        with full_float32():
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert loose.dtype == np.float32
    np.testing.assert_array_equal(loose, expected)


def test_half_precision_training_models_are_asked_in_fp32_and_evaluation_mode() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2)).bfloat16().train()
    predict = torch_predictor(model)
    batch = np.ones((3, 3, 2, 2), np.float32)
    np.testing.assert_array_equal(predict(batch), predict(batch))
    assert model.training
    assert model[2].weight.dtype == torch.bfloat16
