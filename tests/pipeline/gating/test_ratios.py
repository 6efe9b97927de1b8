"""Ratios that are shown beside measurements."""

from __future__ import annotations

import pytest

from foundation.errors import MissingFileError
from pipeline.gating.ratios import stored_ratios


def test_a_stored_measurement_is_of_the_same_scenario_and_rather_of_the_same_host(measured) -> None:
    new = measured()
    stored = [
        measured(host="ssh://pi", percentiles={"p50": (8.0, 7.9, 8.1)}),
        measured(scenario="offline", percentiles={"p50": (9.0, 8.9, 9.1)}),
        measured(percentiles={"p50": (4.0, 3.9, 4.1)}),
    ]
    (ratio,) = stored_ratios([new], stored)
    assert ratio.estimate == pytest.approx(2.0 / 4.0)
    (elsewhere,) = stored_ratios([new], stored[:1])
    assert elsewhere.estimate == pytest.approx(2.0 / 8.0)


def test_another_scenario_alone_is_no_reference(measured) -> None:
    with pytest.raises(MissingFileError, match="in the same scenario"):
        stored_ratios([measured()], [measured(scenario="offline")])
