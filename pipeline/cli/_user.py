"""A user whom the system does not know, as in a container that runs under a bare number: many a
library asks for the home folder or the name, and fails without.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
import tempfile
from pathlib import Path


def stand_in_for_unknown_user() -> None:
    """Give this process, and those that it starts, a home folder and a name if there are none."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_temporary_home())
        print(
            f"note: this user has no home folder; what is kept for later is in {Path.home()}",
            file=sys.stderr,
        )
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"user-{os.getuid()}"


def _temporary_home() -> Path:
    """The same folder for every command of a user, if nobody else had a hand in it."""
    folder = Path(tempfile.gettempdir()) / f"compress-home-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
            folder.chmod(0o700)
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="compress-home-"))
