"""A program that works on one task: `python -m pipeline.study.one_task DESCRIPTOR`.

Whoever starts it holds the other end of that socket: sends what to do, hears what happens, and
takes this process along when it ends.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from multiprocessing.connection import Connection


def main() -> None:
    """Take a task and carry it out."""
    connection = Connection(int(sys.argv[1]))
    path, log_level = connection.recv()
    sys.path += [folder for folder in path if folder not in sys.path]
    pickled = connection.recv_bytes()
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()

    from pipeline.study.worker import work  # noqa: PLC0415 - seconds, in which the other may end

    work(pickle.loads(pickled), connection, log_level)


def _end_with(connection: Connection) -> None:
    """End when the other end is closed: nothing more is sent from there."""
    try:
        connection.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    main()
