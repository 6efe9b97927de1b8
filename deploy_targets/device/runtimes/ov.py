"""OpenVINO, on its CPU plugin."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deploy_targets.device.messages import ExecutedPrecision
from deploy_targets.device.runtimes import RUNTIMES, Model, summarise_precision

_COMPUTE = {"Convolution", "Deconvolution", "FullyConnected", "MatMul"}


@RUNTIMES.register("openvino")
class OpenVino:
    """OpenVINO computes an FP32 model in BF16 where that is faster, unless it is told not to.

    Asked for BF16 on a CPU without it, it computes in FP32 and raises nothing: what ran is
    read back.
    """

    format: ClassVar[str] = "openvino"
    package: ClassVar[str] = "openvino"

    def __init__(self) -> None:
        import openvino  # noqa: PLC0415 - only when it is used

        self._library: Any = openvino
        # The release alone: the rest names a commit of theirs.
        self.version = str(openvino.__version__).partition("-")[0]

    def load(self, model: Model) -> OpenVinoSession:
        settings: dict[str, Any] = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": model.threads}
        if model.precision_hint != "auto":
            settings["INFERENCE_PRECISION_HINT"] = model.precision_hint
        compiled = self._library.Core().compile_model(str(model.path), "CPU", settings)
        return OpenVinoSession(compiled, model)


class OpenVinoSession:
    """A model that OpenVINO has compiled."""

    def __init__(self, compiled: Any, model: Model) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._input = compiled.input(model.input_name)
        self._output = compiled.output(model.output_name)

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._request.infer({self._input: batch}, share_inputs=True)[
            self._output
        ]
        return logits

    def executed_precision(self) -> ExecutedPrecision:
        """Read the compiled graph: each operator carries the precision that was chosen for it."""
        facts = [node.get_rt_info() for node in self._compiled.get_runtime_model().get_ops()]
        return summarise_precision(
            fact["runtimePrecision"].astype(str).lower()
            for fact in facts
            if fact["layerType"].astype(str) in _COMPUTE
        )
