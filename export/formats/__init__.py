"""Export formats: each file here turns an FP32 ONNX file, or the network, into its own files."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.quantization import QuantizationScheme
from export.samples import GraphPredictor, GraphSamples
from foundation.errors import ExportError, UsageError
from foundation.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from export.formats._graph import Graph

Predictor: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From float32 images (N, C, H, W) to float32 logits (N, classes)."""

Calibration: TypeAlias = NDArray[np.float32] | GraphSamples
"""What INT8 ranges are found on: a classifier's prepared images (N, C, H, W); another graph's
samples."""


@dataclass(frozen=True)
class Written:
    """What a format wrote.

    Attributes:
        model_file: name of the file, in the bundle's folder, that a runtime opens.
        input_name, output_name: names in the written graph.
        facts: what the format has to say of it, as plain JSON values.
        remarks: what it decided by measuring, a line each.
    """

    model_file: str
    input_name: str
    output_name: str
    facts: dict[str, Any]
    remarks: tuple[str, ...] = ()


class ExportFormat(ABC):
    """One way of writing a model; stateless, so an instance is as good as any other.

    Attributes:
        name: the name that it is registered under.
        precisions: the number formats that it can write.
        calibrated: those of them that need calibration images.
        from_network: whether it is made of the network in PyTorch, by `write_network`, and not of
            its ONNX file, by `write`.
        packages: what it needs beyond the program's own libraries, which an extra of its name
            brings.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    calibrated: ClassVar[tuple[str, ...]] = ("int8",)
    from_network: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()

    def check_installed(self) -> None:
        """Make sure that what the format needs beyond the program's own libraries is there.

        Raises:
            UsageError: when it is not; with what to install.
        """
        lacking = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if lacking:
            raise UsageError(
                f"export format {self.name} needs {' and '.join(lacking)}, not installed here; "
                f"pip install 'edge-compress[{self.name}]'"
            )

    @abstractmethod
    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: Calibration,
        scheme: QuantizationScheme,
    ) -> Written:
        """Write the model into `folder`.

        Args:
            source: FP32 ONNX file; a classifier's with a dynamic batch where that can be.
            precision: one of `precisions`.
            folder: exists; all that is left in it becomes part of the bundle.
            calibration: prepared images, shape (N, C, H, W), or samples; empty if `precision`
                needs none.
            scheme: how to quantise, where `precision` asks for it.

        Raises:
            ExportError: when the format cannot do what the scheme asks for.
        """

    def write_network(
        self,
        network: nn.Module,
        precision: str,
        folder: Path,
        calibration: NDArray[np.float32],
        scheme: QuantizationScheme,
    ) -> Written:
        """The same of the network itself, for a format that is made `from_network`.

        Args:
            network: a classifier in PyTorch, from (N, C, H, W) to logits (N, classes); left as it
                is.
            precision, folder, scheme: as `write`.
            calibration: prepared images, shape (N, C, H, W), which says the input's size where
                there are none.

        Raises:
            ExportError: when the format cannot do it.
        """
        del network, precision, folder, calibration, scheme
        raise ExportError(f"format {self.name} is made of an ONNX file")

    @abstractmethod
    def load(self, model_file: Path) -> Predictor:
        """Open a written model for checking, on this CPU, with no precision lost on the way.

        That shows what is in the file; what a device makes of it, the device side measures.
        A model that is meant for bf16 runs in bf16, where this CPU has it.
        """

    def load_for_one(self, model_file: Path) -> Predictor:
        """The same for images that come one by one, as most devices ask: some runtimes compile
        another model for that."""
        return self.load(model_file)

    def load_graph(self, model_file: Path, outputs: Sequence[str]) -> GraphPredictor:
        """The same for a graph that is no classifier.

        Args:
            model_file: the written model.
            outputs: names of those that are wanted.

        Raises:
            ExportError: when the format knows classifiers alone.
        """
        del model_file, outputs
        raise ExportError(f"format {self.name} takes classifiers alone; use onnx or openvino")

    def predict(self, model_file: Path, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) of a written model for prepared images (N, C, H, W)."""
        return self.load(model_file)(batch)

    def precision_of(self, model_file: Path) -> str:
        """The precision that a written model looks like: "int8" where the format cannot tell."""
        del model_file
        return "int8"

    def read_tensors(
        self, model_file: Path, names: Sequence[str], images: NDArray[Any]
    ) -> dict[str, NDArray[np.float32]]:
        """Values of tensors inside a written model, of those that it still has.

        Args:
            model_file: the written model.
            names: tensors of the FP32 ONNX graph.
            images: prepared images, shape (N, C, H, W).
        """
        del model_file, names, images
        return {}

    def operator_times(
        self, model_file: Path, images: NDArray[Any], runs: int
    ) -> dict[tuple[str, ...], float]:
        """Milliseconds of what a runtime executes, on one thread of this CPU.

        Each entry is named by the operators or tensors of the FP32 ONNX graph that it was made
        of, as far as the runtime tells; empty where it tells nothing.
        """
        del model_file, images, runs
        return {}


FORMATS: Registry[type[ExportFormat]] = Registry("export format", "export.formats")


def quantization_facts(
    scheme: QuantizationScheme,
    calibration_images: int,
    graph: Graph,
    floating_operators: Sequence[str],
    not_applied: Sequence[str],
) -> dict[str, Any]:
    """What a bundle records of its quantisation.

    Args:
        scheme: what was asked for.
        calibration_images: their number.
        graph: the FP32 graph.
        floating_operators: its convolutions and products that stayed in floating point.
        not_applied: settings of the scheme that the format's quantiser lacks.
    """
    main_operators = graph.main()
    in_floating_point = [name for name in main_operators if name in set(floating_operators)]
    quantized = Counter(
        graph.operators[name].kind for name in main_operators if name not in set(floating_operators)
    )
    return asdict(scheme) | {
        "excluded": list(scheme.excluded),
        "reason": scheme.reason or "no reason was given: the default scheme",
        "calibration_images": calibration_images,
        "operators_quantized": dict(sorted(quantized.items())),
        "operators_kept": in_floating_point,
        "not_applied": list(not_applied),
    }
