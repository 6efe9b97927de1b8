"""The answering process: `python -m deploy_targets.device.probing`, one job, one engine.

It reads an `EngineJob` as JSON from standard input and answers, as JSON lines on standard
output, with a "result" (a `Probed`) or an "error". Nothing is timed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np

from deploy_targets.device.channel import exit_code_of, take_standard_output
from deploy_targets.device.engine import load_engine
from deploy_targets.device.jobs import EngineJob
from deploy_targets.device.messages import RuntimeUsed
from foundation.records import as_dict, build

WORKER = "deploy_targets.device.probing"


@dataclass(frozen=True)
class Probed:
    """Logits of the probe images, a list each, as they came one by one."""

    runtime: RuntimeUsed
    logits: list[list[float]]


def main() -> int:
    """Do the job on standard input; the exit code is 0 or that of the error."""
    emit = take_standard_output()

    def work() -> None:
        engine = load_engine(build(EngineJob, json.load(sys.stdin)))
        images = engine.images.images
        one_by_one = [engine.run(images[i : i + 1]) for i in range(len(images))]
        # Each float32 has a float of its own, so nothing is lost on the way.
        logits = np.concatenate(one_by_one).astype(float).tolist()
        emit({"kind": "result", **as_dict(Probed(engine.used(), logits))})

    return exit_code_of(work, emit)


if __name__ == "__main__":
    sys.exit(main())
