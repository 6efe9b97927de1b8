"""What tests of several rooms share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def doomed() -> dict[str, str]:
    """The environment of a process that will be killed: not asked for coverage, whose data file
    it would leave half-written."""
    asks = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    return {key: value for key, value in os.environ.items() if key not in asks}
