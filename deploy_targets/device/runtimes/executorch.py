"""ExecuTorch, with its XNNPACK backend; its Python package is an extension of PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from deploy_targets.device.messages import ExecutedPrecision
from deploy_targets.device.operator_times import Untold
from deploy_targets.device.runtimes import RUNTIMES, Model, Run, _sample, summarise_precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_METHOD = "forward"


@RUNTIMES.register("executorch")
class Executorch:
    """ExecuTorch computes as the program says, so the hint changes nothing.

    Attributes:
        by_hand: why a set-up does not bring it to a device.
        extends: the package that its own is an extension of.
    """

    format: ClassVar[str] = "executorch"
    package: ClassVar[str] = "executorch"
    sample: ClassVar[Mapping[str, bytes]] = {"sample.pte": _sample.EXECUTORCH}
    extends: ClassVar[str] = "torch"
    by_hand: ClassVar[str] = (
        "its Python package is an extension of PyTorch: 501 MB to fetch and 1.1 GB on the disk "
        "(executorch 1.5.1 and torch 2.15.0 for aarch64, without the CUDA libraries that torch "
        "asks for); where there is room, install it there and run `compress bench` there"
    )

    def __init__(self) -> None:
        import executorch.version  # noqa: PLC0415 - only when it is used
        import torch  # noqa: PLC0415 - first: the extension is linked against its libraries

        # What `executorch.runtime` wraps; that brings the exporter too, and some twelve seconds.
        from executorch.extension.pybindings import _C  # noqa: PLC0415

        self._torch: Any = torch
        self._library: Any = _C
        self.version = str(executorch.version.__version__).partition("+")[0]

    def load(self, model: Model) -> ExecutorchSession:
        return ExecutorchSession(self._torch, self._library, model)


class ExecutorchSession:
    """A program in ExecuTorch.

    Args:
        torch: PyTorch, whose tensors it takes.
        library: the runtime's module.
        model: to load.

    Raises:
        ValueError: when it is none for one batch of images.
    """

    provider = "XNNPACK"

    def __init__(self, torch: Any, library: Any, model: Model) -> None:
        self._torch, self._library = torch, library
        # One pool for the whole process, which knows nothing of the cores it is held on.
        library._unsafe_reset_threadpool(model.threads)
        # Methods of one program share its memory, so that each stream has a program.
        programs = [library._load_program(str(model.path)) for _ in range(model.streams)]
        self._methods = [program.load_method(_METHOD) for program in programs]
        meta = self._methods[0].method_meta()
        if meta.num_inputs() != 1 or meta.num_outputs() != 1:
            raise ValueError("it has several inputs or outputs, and is no classifier's")
        self._shape = tuple(meta.input_tensor_meta(0).sizes())

    def lanes(self) -> list[Run]:
        """A program takes one call at a time, so that each stream has one of its own."""
        return [self._lane(method) for method in self._methods]

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._lane(self._methods[0])(batch)
        return logits

    def executed_precision(self) -> ExecutedPrecision:
        """It says nothing of what XNNPACK's kernels compute in."""
        return summarise_precision([])

    def profiler(self) -> Untold:
        """Its times are those of the parts that XNNPACK was given, in a format of their own."""
        return Untold(
            "ExecuTorch tells where its time goes in an ETDump, which is not read here; "
            "executorch.devtools reads it"
        )

    def _lane(self, method: Any) -> Run:
        import numpy as np  # noqa: PLC0415

        def run(batch: NDArray[Any]) -> NDArray[np.float32]:
            if batch.shape[1:] != self._shape[1:] or batch.dtype != np.float32:
                raise ValueError(
                    f"its input is float32 (N, {', '.join(map(str, self._shape[1:]))})"
                )
            # It reads channels-last memory in order, whatever the strides say, and answers wrongly.
            images = self._torch.from_numpy(np.ascontiguousarray(batch)).split(1)
            answers = [method.call((image,))[0].numpy() for image in images]
            logits: NDArray[np.float32] = np.concatenate(answers)
            return logits

        return run
