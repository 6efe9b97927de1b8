"""Libraries report home from no process of ours: their telemetry is off before they are imported.

ONNX Runtime and the Hugging Face hub have a switch in the environment, which processes that we
start inherit. OpenVINO and NNCF have none but a consent file in the home, which is the user's
to write; where their package for it cannot be imported, both do without.
"""

from __future__ import annotations

import os
import sys

SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_REPORTER = "openvino_telemetry"


def switch_off() -> None:
    """Switch it off in this process and in those that it starts, where nobody said otherwise.

    A variable that is set stays as it is, and so does a package that is imported already.
    """
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    # An entry of None is Python's own way to say that there is no such module.
    sys.modules.setdefault(_REPORTER, None)  # type: ignore[arg-type]
