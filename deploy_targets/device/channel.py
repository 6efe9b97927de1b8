"""The device's end of the line: messages out on standard output, and no error left unsaid."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable

from deploy_targets.device.messages import STEPS, Message
from deploy_targets.device.runtimes import one_line
from foundation.errors import CompressError, HostError
from foundation.records import RecordError

Emit = Callable[[Message], None]


def take_standard_output() -> Emit:
    """Keep standard output for messages alone, and send whoever else prints to standard error."""
    sys.stdout.flush()
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(message: Message) -> None:
        messages.write(json.dumps(message, allow_nan=False) + "\n")
        messages.flush()

    return emit


def exit_code_of(work: Callable[[], None], emit: Emit) -> int:
    """Do the work; whatever goes wrong is sent as an "error", whose exit code is returned."""
    try:
        work()
    except CompressError as error:
        return _report(emit, error.exit_code, str(error))
    except (json.JSONDecodeError, RecordError) as error:
        return _report(emit, HostError.exit_code, f"not a job for this worker: {one_line(error)}")
    # Whatever else goes wrong on a device has to come back as a message, not as silence.
    except Exception as error:
        traceback.print_exc()
        return _report(
            emit,
            HostError.exit_code,
            f"measuring failed: {type(error).__name__}: {one_line(error)}",
        )
    return 0


def _report(emit: Emit, exit_code: int, message: str) -> int:
    emit({"kind": "error", "exit_code": exit_code, "message": message})
    return exit_code


def tell_progress(emit: Emit, step: str) -> None:
    """Tell which of the steps of a job begins."""
    emit({"kind": "progress", "step": step, "number": STEPS.index(step) + 1, "of": len(STEPS)})
