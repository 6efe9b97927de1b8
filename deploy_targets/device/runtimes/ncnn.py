"""ncnn, on its CPU code."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from deploy_targets.device.messages import ExecutedPrecision
from deploy_targets.device.operator_times import Untold
from deploy_targets.device.runtimes import RUNTIMES, Model, Run, summarise_precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_COMPUTE = {
    "Convolution", "ConvolutionDepthWise", "Convolution1D", "Deconvolution", "InnerProduct",
    "Gemm", "MatMul", "MultiHeadAttention",
}  # fmt: skip
_HEAD = 2
# A 3×3 kernel of ones over a 2×2 image; before weights of 32 bits stands a word of zero.
_SAMPLE = b"""7767517
2 2
Input x 0 1 x 0=2 1=2 2=1
Convolution c 1 1 x y 0=1 1=3 4=1 6=9
"""
_ONES = struct.pack("<I9f", 0, *[1.0] * 9)
_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")


@RUNTIMES.register("ncnn")
class Ncnn:
    """ncnn computes in FP16 wherever the CPU can, unless it is told not to.

    It says nothing of what ran: that follows from what it was told and what the CPU has.
    """

    format: ClassVar[str] = "ncnn"
    package: ClassVar[str] = "ncnn"
    sample: ClassVar[Mapping[str, bytes]] = {"sample.param": _SAMPLE, "sample.bin": _ONES}

    def __init__(self) -> None:
        import ncnn  # noqa: PLC0415 - only when it is used

        self._library: Any = ncnn
        self.version = str(ncnn.__version__)

    def load(self, model: Model) -> NcnnSession:
        return NcnnSession(self._library, model)


class NcnnSession:
    """A model in ncnn.

    Args:
        library: the runtime's module.
        model: to load; its weights lie beside it in a .bin file of the same stem.

    Raises:
        ValueError: when ncnn cannot read it.
    """

    provider = "CPU"

    def __init__(self, library: Any, model: Model) -> None:
        self._library, self._model = library, model
        self._lines = model.path.read_text(encoding="ascii").splitlines()
        self._shape = _input_shape(self._lines)
        self._net = library.Net()
        option = self._net.opt
        option.num_threads = model.threads
        option.use_bf16_storage = False
        for name in _HALVES:
            setattr(option, name, model.precision_hint != "f32")
        files = (str(model.path), str(model.path.with_suffix(".bin")))
        if self._net.load_param(files[0]) or self._net.load_model(files[1]):
            raise ValueError("the file is damaged, or of a newer release")

    def lanes(self) -> list[Run]:
        """A network takes calls of several threads at once; each has the threads of one."""
        return [self.run] * self._model.streams

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        import numpy as np  # noqa: PLC0415

        # ncnn checks neither: it reads memory in order, strides or not. It takes images one by one.
        if batch.shape[1:] != self._shape or batch.dtype != np.float32:
            raise ValueError(f"its input is float32 (N, {', '.join(map(str, self._shape))})")
        return np.stack([self._answer(image) for image in np.ascontiguousarray(batch)])

    def _answer(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        import numpy as np  # noqa: PLC0415

        extractor = self._net.create_extractor()
        if extractor.input(self._model.input_name, self._library.Mat(image)):
            raise ValueError(f"it has no input {self._model.input_name}")
        failed, logits = extractor.extract(self._model.output_name)
        if failed:
            raise ValueError(f"ncnn gives no {self._model.output_name}")
        # A copy: the memory is ncnn's, and goes with it.
        return np.array(logits, np.float32)

    def executed_precision(self) -> ExecutedPrecision:
        """FP16 where that was asked for and the CPU has arithmetic for it, FP32 elsewhere: halves
        in memory are widened then."""
        is_half = self._model.precision_hint != "f32" and self._library.cpu_support_arm_asimdhp()
        kinds = [line.split()[0] for line in self._lines[_HEAD:]]
        return summarise_precision("f16" if is_half else "f32" for k in kinds if k in _COMPUTE)

    def profiler(self) -> Untold:
        """Layers are timed by a library that was built for it alone, and the wheel's is not."""
        return Untold(
            "ncnn does not tell where its time goes: its Python wheel is built without "
            "NCNN_BENCHMARK"
        )


def _input_shape(lines: list[str]) -> tuple[int, int, int]:
    """Channels, height and width, which the exporter has written beside the input's name.

    Raises:
        ValueError: when they are not there.
    """
    words = next((line.split() for line in lines[_HEAD:] if line.startswith("Input ")), [])
    sizes = dict(word.split("=", 1) for word in words if "=" in word)
    try:
        return int(sizes["2"]), int(sizes["1"]), int(sizes["0"])
    except (KeyError, ValueError) as error:
        raise ValueError("the size of its input does not stand in it") from error
