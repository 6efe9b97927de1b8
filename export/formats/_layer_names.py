"""Names of an OpenVINO model's layers, the same whenever it is made.

OpenVINO names what has no name by a counter of the whole process, so a second export in it, or one
that goes on after a cut, would write other bytes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

_COUNTED = re.compile(r"([A-Z][A-Za-z0-9]*)_(\d+)(?![0-9A-Za-z])")


def count_anew(model: Any, known: Collection[str]) -> None:
    """Number the layers that OpenVINO named, in the order of their execution.

    Args:
        model: an `openvino.Model`; renamed in place.
        known: names that are no counted ones, though they may look so: those of the ONNX graph.
    """
    used_names = set(known)
    renamed: dict[str, str] = {}
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        match = None if name in used_names else _COUNTED.match(name)
        if match is None or match[0] in used_names:
            continue
        if match[0] not in renamed:
            number = len(renamed)
            while (fresh := f"{match[1]}_{number}") in used_names:
                number += 1
            renamed[match[0]] = fresh
        node.set_friendly_name(renamed[match[0]] + name[match.end() :])


def names_in(model: Any) -> set[str]:
    """Names of all layers."""
    return {node.get_friendly_name() for node in model.get_ordered_ops()}
