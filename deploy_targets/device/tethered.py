"""A process that ends with its link: `python -m deploy_targets.device.tethered MODULE [one-line]`.

A worker has read its job and looks at standard input no more, so when whoever started it is gone it
would measure on for nobody. Here a thread goes on looking: input that ends, ends the process,
whatever it is doing. The thread waits in the kernel and costs the module nothing.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import threading

_CHUNK = 1 << 16


ONE_LINE = "one-line"


def hold(*, one_line: bool) -> None:
    """From now on what comes in is passed on to this process, and when it ends, so do we.

    Args:
        one_line: the process reads a single line and waits for the end after it: that is given.
    """
    link = os.dup(0)
    reading_end, writing_end = os.pipe()
    os.dup2(reading_end, 0)
    os.close(reading_end)
    threading.Thread(target=_pass_on, args=(link, writing_end, one_line), daemon=True).start()


def _pass_on(link: int, pipe: int, one_line: bool) -> None:
    with contextlib.suppress(OSError):
        while content := os.read(link, _CHUNK):
            _write(pipe, content)
            if one_line and content.endswith(b"\n"):
                os.close(pipe)
                one_line = False
    # Without a word, from within: nobody is left to hear one, and a runtime may be at work.
    os.kill(os.getpid(), signal.SIGKILL)


def _write(pipe: int, content: bytes) -> None:
    while content:
        content = content[os.write(pipe, content) :]


if __name__ == "__main__":
    hold(one_line=sys.argv[2:] == [ONE_LINE])
    # As the module itself would be run: its name is that of the program.
    sys.argv = sys.argv[1:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
