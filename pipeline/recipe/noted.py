"""What a file of weights that was written here notes of its network; read without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foundation.documents import parse_json
from foundation.errors import CorruptFileError
from foundation.preprocessing import Preprocessing
from foundation.records import as_dict, build

NOTE = "network"
"""Under which of its facts a file of weights has it."""


@dataclass(frozen=True)
class NotedNetwork:
    """A network with trained weights, told by their file.

    Attributes:
        model: as a recipe names it.
        classes: in the order of its logits.
        preprocessing: of its images.
        settings: what its factory is told beside the number of classes.
        head: name of the layer that gives the logits, where that is not as its factory makes it.
    """

    model: str
    classes: list[str]
    preprocessing: Preprocessing
    settings: dict[str, Any] = field(default_factory=dict)
    head: str | None = None

    def as_facts(self) -> Mapping[str, Any]:
        """For the file of its weights."""
        return {NOTE: as_dict(self)}


def holds_answers(path: Path) -> bool:
    """Whether a file of tensors is what a teacher said of images, and no network's weights."""
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - only where one is named

    try:
        with safe_open(path, framework="numpy") as file:
            return "logits" in file.keys() and NOTE not in (file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError):
        return False


def noted_network(path: Path) -> NotedNetwork | None:
    """What a file notes of its network; None of a file that notes nothing.

    Raises:
        CorruptFileError: when what it notes is not whole.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - only where one is named

    try:
        with safe_open(path, framework="numpy") as file:
            note = (file.metadata() or {}).get(NOTE)
    except (SafetensorError, OSError):  # another kind of file, which whoever reads it tells of
        return None
    if note is None:
        return None
    try:
        return build(NotedNetwork, parse_json(note))
    except (ValueError, TypeError) as error:
        raise CorruptFileError(
            f"{path}: what it notes of its network is not whole ({error}); copy it again, or teach "
            "it anew"
        ) from error
