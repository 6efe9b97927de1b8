"""Which ONNX files a release of ONNX Runtime loads: operator sets, and versions of the file format.

From the table "ONNX opset support" on ONNX Runtime's page on compatibility; 1.21 from the pull
request that brought ONNX 1.17 into that release. Every release runs all operator sets from 7 up
to its highest, and a release that is not named here loads what the newest one before it does.
"""

from __future__ import annotations

from foundation.manifest import version_numbers

# The first release of ONNX Runtime that runs an operator set.
FIRST_FOR_OPSET = {
    15: "1.10", 16: "1.11", 17: "1.12", 18: "1.14", 19: "1.15", 20: "1.17", 21: "1.18", 22: "1.21",
    23: "1.23",
}  # fmt: skip
# The first release that reads a version of the file format ("IR").
FIRST_FOR_IR = {8: "1.10", 9: "1.15", 10: "1.18", 11: "1.23"}


def highest_opset(release: str) -> int | None:
    """The highest operator set that a release, such as "1.20.1", is known to run.

    None when the release is older than the table.
    """
    numbers = version_numbers(release)
    opsets = [
        opset for opset, first in FIRST_FOR_OPSET.items() if version_numbers(first) <= numbers
    ]
    return max(opsets, default=None)


def oldest_release(opset: int, ir_version: int = 0) -> str | None:
    """The first release known to load a file of that operator set and version of the format.

    None where the tables end.
    """
    needed = [
        next((first for limit, first in table.items() if limit >= version), None)
        for table, version in ((FIRST_FOR_OPSET, opset), (FIRST_FOR_IR, ir_version))
    ]
    releases = [first for first in needed if first is not None]
    return max(releases, key=version_numbers) if len(releases) == len(needed) else None
