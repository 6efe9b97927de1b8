"""XNNPACK, within an ONNX Runtime that was built with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from deploy_targets.device.runtimes import RUNTIMES, Model, _sample
from deploy_targets.device.runtimes.ort import OrtSession, session_of
from foundation.errors import HostError

_XNNPACK, _CPU = "XnnpackExecutionProvider", "CPUExecutionProvider"


@RUNTIMES.register("xnnpack")
class Xnnpack:
    """ONNX Runtime that gives XNNPACK all it takes, and computes the rest on its CPU provider.

    XNNPACK has threads of its own, so that ONNX Runtime's are kept to one: two pools on the same
    cores would wait for each other.
    """

    format: ClassVar[str] = "onnx"
    package: ClassVar[str] = "onnxruntime"
    sample: ClassVar[Mapping[str, bytes]] = {"sample.onnx": _sample.ONNX}

    def __init__(self) -> None:
        import onnxruntime  # noqa: PLC0415 - only when it is used

        self._library: Any = onnxruntime
        self.version = str(onnxruntime.__version__)
        has = onnxruntime.get_available_providers()
        if _XNNPACK not in has:
            names = ", ".join(name.removesuffix("ExecutionProvider") for name in has)
            raise HostError(
                f"runtime 'xnnpack': ONNX Runtime {self.version} here was built without it (it has "
                f"{names}); use --runtime onnxruntime, or install a build made with --use_xnnpack"
            )

    def load(self, model: Model) -> OrtSession:
        settings = {"intra_op_num_threads": str(model.threads)}
        return session_of(self._library, model, [(_XNNPACK, settings), _CPU], pool=1)
