from __future__ import annotations

import pytest

from foundation.onnx_releases import FIRST_FOR_OPSET, highest_opset, oldest_release


@pytest.mark.parametrize(
    ("opset", "ir_version", "oldest"),
    [(20, 9, "1.17"), (20, 10, "1.18"), (18, 8, "1.14"), (17, 9, "1.15"), (99, 8, None)],
)
def test_the_oldest_release_knows_operators_and_file_version(
    opset: int, ir_version: int, oldest: str | None
) -> None:
    assert oldest_release(opset, ir_version) == oldest


@pytest.mark.parametrize(
    ("release", "opset"),
    [("1.9.1", None), ("1.13.1", 17), ("1.14.0", 18), ("1.16.3", 19), ("1.20.1", 21)],
)
def test_a_release_runs_every_set_up_to_its_highest(release: str, opset: int | None) -> None:
    assert highest_opset(release) == opset


def test_a_release_beyond_the_table_runs_what_the_newest_in_it_does() -> None:
    assert highest_opset("1.99") == max(FIRST_FOR_OPSET)
