"""The device side of this program as files to bring: plain Python, named by its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from foundation.files import sha256_of

_ROOT = Path(__file__).resolve().parents[2]
# All that `deploy_targets.device` imports: the contract "The device side needs only Python, numpy
# and one runtime" in pyproject.toml keeps it at that.
_PARTS = (
    "foundation/*.py",
    "deploy_targets/__init__.py",
    "deploy_targets/device/**/*.py",
)


def device_sources() -> tuple[str, dict[str, Path]]:
    """The tree's name, which changes with any of its files, and the files by their names in it."""
    files = {
        path.relative_to(_ROOT).as_posix(): path
        for part in _PARTS
        for path in sorted(_ROOT.glob(part))
    }
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{sha256_of(path)}\n".encode())
    return f"code/{digest.hexdigest()[:16]}", files
