"""One inference of a runtime by itself: `python -m deploy_targets.device.trying RUNTIME`.

A library may be there, and even import, and then die of an instruction that an older processor does
not have. So a convolution small enough to be written down here is computed, in a process of its
own, and its answer looked at. Prints the runtime's version; ends with 0, an error's exit code, or
the signal that it died of.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from deploy_targets.device.runtimes import RUNTIMES, Model, load_session, open_runtime
from foundation.errors import CompressError, HostError

# A 3×3 kernel of ones over a padded 2×2 image: each of the four answers is the sum of the image.
_IMAGE, _ANSWER = (1.0, 2.0, 3.0, 4.0), 10.0


def try_runtime(name: str) -> str:
    """Let a runtime compute something.

    Returns:
        Its version.

    Raises:
        HostError: when it is not there, or computes something else.
        ModelMismatchError: when it cannot load the model.
    """
    import numpy as np  # noqa: PLC0415 - so that a missing one is told of as an error

    runtime = open_runtime(name)
    with tempfile.TemporaryDirectory() as folder:
        files = RUNTIMES.get(name).sample
        for file, content in files.items():
            Path(folder, file).write_bytes(content)
        model = Model(Path(folder, next(iter(files))), "x", "y", threads=1, precision_hint="f32")
        answer = load_session(runtime, model).run(np.array(_IMAGE, np.float32).reshape(1, 1, 2, 2))
    if not np.allclose(answer, _ANSWER):
        raise HostError(f"it computed {answer.ravel().tolist()} where {_ANSWER} is right")
    return runtime.version


def main() -> int:
    """Try the runtime that the command line names."""
    try:
        print(try_runtime(sys.argv[1]))
    except CompressError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
