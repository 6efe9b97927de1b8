"""Is a report that lies there still right? Told by all that it could have been drawn from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pipeline.report
import pipeline.shown
from foundation.files import sha256_of
from pipeline.run_folder.folder import RunFolder, release_of

_NOTE = "report"
_READ_WHOLE = {".json", ".toml", ".jsonl"}  # written anew by commands that find nothing new
_DRAWN_BY = (pipeline.report, pipeline.shown)


def drawn_before(run: RunFolder) -> list[Path] | None:
    """The files of a report that was drawn from a run folder as it is now, by this program, the
    page first; None where there is none."""
    noted = run.record().get(_NOTE)
    if not isinstance(noted, dict):
        return None
    written = [run.path / name for name in noted.get("files", {})]
    if not written or not all(path.is_file() for path in written):
        return None
    return written if noted == _note(run, written) else None


def note_drawn(run: RunFolder, written: Sequence[Path]) -> None:
    """Write down in run.json what a report was drawn from."""
    run.note(**{_NOTE: _note(run, written)})


def _note(run: RunFolder, written: Sequence[Path]) -> dict[str, Any]:
    digest = hashlib.sha256(_drawing_code().encode())
    for path in sorted(run.path.rglob("*")):
        if path.is_file() and path not in written and not path.name.startswith("."):
            state = [str(path.relative_to(run.path)), *_state(run, path)]
            digest.update(json.dumps(state).encode())
    files = {path.relative_to(run.path).as_posix(): sha256_of(path) for path in written}
    return {"from": digest.hexdigest(), "files": files}


def _state(run: RunFolder, path: Path) -> Iterator[Any]:
    """What tells a file from the one that it was before."""
    if path == run.record_path:
        yield {key: value for key, value in run.record().items() if key != _NOTE}
    elif path.suffix in _READ_WHOLE:
        yield sha256_of(path)
    else:
        status = path.stat()
        yield from (status.st_size, status.st_mtime_ns)


@cache
def _drawing_code() -> str:
    """In one word the files that reports are drawn by."""
    folders = [Path(str(package.__file__)).parent for package in _DRAWN_BY]
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    digests = [sha256_of(path) for path in files if path.suffix != ".pyc"]
    return json.dumps([release_of("edge-compress"), digests])
