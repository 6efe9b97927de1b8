"""The files that a finished stage leaves in its folder; to know their names takes no torch."""

from __future__ import annotations

from pathlib import Path

WEIGHTS, METHOD, METRICS = "weights.safetensors", "method.safetensors", "metrics.json"
RANGES, CONTINUATION = "ranges.safetensors", "continuation.safetensors"


def left_for_later(folder: Path) -> list[Path]:
    """What a stage left for those after it: what its methods learnt, and where it stood; as far as
    there is any."""
    return [path for path in (folder / METHOD, folder / CONTINUATION) if path.is_file()]
