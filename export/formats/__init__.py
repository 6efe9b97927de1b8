"""Export formats: each file here turns an FP32 ONNX file into one format's own files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.quantization import QuantizationScheme
from foundation.registry import Registry

Predictor: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From float32 images (N, C, H, W) to float32 logits (N, classes)."""


@dataclass(frozen=True)
class Written:
    """What a format wrote.

    Attributes:
        model_file: name of the file, in the bundle's folder, that a runtime opens.
        input_name, output_name: names in the written graph.
        facts: what the format has to say of it, as plain JSON values.
    """

    model_file: str
    input_name: str
    output_name: str
    facts: dict[str, Any]


class ExportFormat(ABC):
    """One way of writing a model; stateless, so an instance is as good as any other.

    Attributes:
        name: the name that it is registered under.
        precisions: the number formats that it can write.
        calibrated: those of them that need calibration images.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    calibrated: ClassVar[tuple[str, ...]] = ("int8",)

    @abstractmethod
    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: NDArray[np.float32],
        scheme: QuantizationScheme,
    ) -> Written:
        """Write the model into `folder`.

        Args:
            source: FP32 ONNX file with a dynamic batch.
            precision: one of `precisions`.
            folder: exists; all that is left in it becomes part of the bundle.
            calibration: prepared images, shape (N, C, H, W); empty if `precision`
                needs none.
            scheme: how to quantise, where `precision` asks for it.

        Raises:
            ExportError: when the format cannot do what the scheme asks for.
        """

    @abstractmethod
    def load(self, model_file: Path) -> Predictor:
        """Open a written model for checking, on this CPU, with no precision lost on the way.

        That shows what is in the file; what a device makes of it, the device side measures.
        """

    def predict(self, model_file: Path, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes) of a written model for prepared images (N, C, H, W)."""
        return self.load(model_file)(batch)


FORMATS: Registry[type[ExportFormat]] = Registry("export format", "export.formats")
