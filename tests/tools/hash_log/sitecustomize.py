"""Notes each file whose SHA-256 is taken, in every Python process that has this on its path."""

import hashlib
import os
from pathlib import Path

_file_digest = hashlib.file_digest


def _noted(file, *arguments):
    with Path(os.environ["HASH_LOG"]).open("a") as log:
        log.write(f"{os.path.realpath(file.name)}\n")
    return _file_digest(file, *arguments)


if "HASH_LOG" in os.environ:
    hashlib.file_digest = _noted
