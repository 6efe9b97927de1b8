from __future__ import annotations

import pytest
import torch

from smskd.precision import full_precision


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_types_are_raised_and_the_others_stay(
    given: torch.dtype, expected: torch.dtype
) -> None:
    assert full_precision(torch.ones(2, dtype=given)).dtype == expected
