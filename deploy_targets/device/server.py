"""A serving process: `python -m deploy_targets.device.server`, one engine, turn by turn.

The first line of standard input is a `ServerJob`; once the engine is loaded, checked
and warm, the answer is a "ready". Each further line is a `Turn` and is answered with
"samples". In between the process waits for its input and computes nothing, so that of
several servers on a machine only the one that is asked is at work. It ends with its
input, and so with whoever started it.
"""

from __future__ import annotations

import itertools
import json
import sys

from deploy_targets.device import timing
from deploy_targets.device.channel import Emit, exit_code_of, take_standard_output
from deploy_targets.device.engine import load_engine
from deploy_targets.device.jobs import ServerJob, Turn
from deploy_targets.device.messages import Ready, Samples
from foundation.records import as_dict, build

# The other engines have had the caches since the last turn: the first queries of one are not
# the model's own time.
_SETTLING_SHARE = 0.1


def main() -> int:
    """Serve until standard input ends; the exit code is 0 or that of the error."""
    emit = take_standard_output()
    return exit_code_of(lambda: serve(emit), emit)


def serve(emit: Emit) -> None:
    """Load what the first line asks for, then time as many turns as are asked for.

    Raises:
        CompressError: of the kind that fits, when bundle or runtime is at fault.
    """
    job = build(ServerJob, json.loads(sys.stdin.readline()))
    engine = load_engine(job)
    # Before anything is timed: ONNX Runtime needs a second session for it.
    used, parity = engine.used(), engine.parity()
    session, questions = engine.session, engine.questions
    one_by_one = itertools.cycle([questions.query(1, i) for i in range(len(questions))])

    def query() -> object:
        return session.run(next(one_by_one))

    warmup_n = timing.warm_up(query, job.warmup_seconds).n
    ready = Ready(runtime=used, parity=parity, startup_ms=engine.startup, warmup_n=warmup_n)
    emit({"kind": "ready", **as_dict(ready)})
    for line in sys.stdin:
        turn = build(Turn, json.loads(line))
        settling = max(1, int(turn.queries * _SETTLING_SHARE))
        timing.time_queries(query, settling, turn.max_seconds * _SETTLING_SHARE)
        ns = timing.time_queries(query, turn.queries, turn.max_seconds)
        emit({"kind": "samples", **as_dict(Samples(ns))})


if __name__ == "__main__":
    sys.exit(main())
