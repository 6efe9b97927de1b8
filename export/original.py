"""What is known of a source already: it is found out once, however many bundles are made of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.checking.accuracy_lost import NamedClasses, answers_of
from export.checking.answers import check_reference, logits_of, predictor_of
from export.formats import FORMATS, Predictor, Written
from export.graphs.batches import batch_of, in_batches_of
from export.graphs.cleaning import set_metadata
from export.graphs.from_onnx import import_onnx
from export.graphs.to_onnx import export_onnx
from export.quantization import QuantizationScheme
from export.requests import UNLABELLED_VALIDATION, BundleRequest, ExportSource
from foundation.bundle import Preprocessing
from foundation.files import sha256_of
from foundation.memory import give_back_freed_memory
from foundation.metric_values import MetricValues


class Original:
    """A source with its FP32 ONNX files, and with what it and its bundles answered.

    The same bytes are not asked twice: what the FP32 graph answers is known of the FP32 bundle too,
    and a trial's INT8 model is neither quantised nor asked again where it ships.

    Args:
        source: the original.
        scratch: keeps what is written, an empty folder that outlives this; None keeps nothing.
    """

    def __init__(self, source: ExportSource, scratch: Path | None = None) -> None:
        self.source = source
        self._scratch = scratch
        self._references: dict[str, NDArray[np.float32]] = {}
        self._answers: dict[tuple[str, str], NamedClasses] = {}
        self._written: dict[tuple[str, int, QuantizationScheme], tuple[Path, Written]] = {}

    def onnx_file(self, opset: int, on_export: Callable[[], None] | None = None) -> Path:
        """The source as FP32 ONNX of an operator set.

        Args:
            opset: ONNX operator set to export with.
            on_export: called before it is exported, which takes a while.

        Raises:
            ExportError, MissingFileError, CorruptFileError: as `export_fp32_onnx`.
            ValueError: when there is no folder to keep it in.
        """
        if self._scratch is None:
            raise ValueError("a scratch folder must be given to export in, but there is none")
        path = self._scratch / f"opset-{opset}.onnx"
        if not path.exists():
            if on_export:
                on_export()
            self._scratch.mkdir(parents=True, exist_ok=True)
            export_fp32_onnx(self.source, path, opset)
        return path

    def reference(
        self, network: nn.Module | Path | None = None, name: str = ""
    ) -> NDArray[np.float32]:
        """Logits of the probe images (N, classes), which bundles are held against.

        Args:
            network: a form of the source that answers in its place; None is the source itself.
            name: of that form.

        Raises:
            ExportError: when they are of other classes, or not finite.
        """
        if name not in self._references:
            source = self.source
            predict = predictor_of(source.model if network is None else network)
            logits = logits_of(predict, source.probe_images, source.preprocessing)
            check_reference(logits, source)
            self._references[name] = logits
            give_back_freed_memory()
        return self._references[name]

    def answers(
        self, part: str, model: str, preprocessing: Preprocessing, load: Callable[[], Predictor]
    ) -> NamedClasses | None:
        """The class that a model gives each image of a part; None without images.

        Args:
            part: "test", "validation", "unlabelled" or `UNLABELLED_VALIDATION`.
            model: what `model_digest` says of the model's files.
            preprocessing: of the model.
            load: opens it, for any number of images.
        """
        images = self._images(part)
        if images is None:
            return None
        if (part, model) not in self._answers:
            judge = self._judge_of(part)
            self._answers[part, model] = answers_of(load(), images, preprocessing, judge)
        return self._answers[part, model]

    def float_classes(self, part: str, onnx_file: Path) -> NDArray[np.int64]:
        """The classes (N,) that an FP32 ONNX file of the source gives the images of a part, which
        it has."""

        def load() -> Predictor:
            return in_batches_of(FORMATS.get("onnx")().load(onnx_file), batch_of(onnx_file))

        model = model_digest("onnx", [sha256_of(onnx_file)])
        answers = self.answers(part, model, self.source.preprocessing, load)
        assert answers is not None, f"there are no {part} images"
        return answers.classes

    def right(self, part: str, classes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each image of a part with labels is named rightly, shape (N,)."""
        labelled = self.source.evaluation if part == "test" else self.source.validation
        assert labelled is not None, "the classes are of its images"
        return np.asarray(classes == labelled[1])

    def _judge_of(self, part: str) -> Callable[[NDArray[np.float32]], MetricValues] | None:
        """The source's metric on the labels of a part; None without labels, or without a metric."""
        source = self.source
        labelled = {"test": source.evaluation, "validation": source.validation}.get(part)
        metric = source.metric
        if labelled is None or metric is None:
            return None
        labels = np.asarray(labelled[1], np.int64)
        return lambda logits: metric.judge(logits, labels)

    def _images(self, part: str) -> NDArray[np.uint8] | None:
        if part == "unlabelled":
            return self.source.unlabelled
        if part == UNLABELLED_VALIDATION:
            return self.source.unlabelled_validation
        labelled = self.source.evaluation if part == "test" else self.source.validation
        return None if labelled is None else labelled[0]

    def written(
        self, request: BundleRequest, folder: Path, write: Callable[[Path], Written]
    ) -> Written:
        """Write a model into `folder`, or what was written for an equal request before.

        Only INT8 is kept: it takes images and a minute, where others take a second.

        Args:
            request: which model.
            folder: exists; takes the model's files.
            write: writes them into a folder.

        Raises:
            Whatever `write` raises.
        """
        if request.precision != "int8" or self._scratch is None:
            return write(folder)
        key = (request.format, request.opset, request.scheme)
        if key not in self._written or not self._written[key][0].exists():
            written = write(folder)
            copy = self._scratch / f"int8-{len(self._written)}"
            shutil.copytree(folder, copy)
            self._written[key] = copy, written
            return written
        copy, written = self._written[key]
        shutil.copytree(copy, folder, dirs_exist_ok=True)
        return written


def model_digest(format_name: str, digests: Iterable[str]) -> str:
    """What tells a written model from any other.

    Args:
        format_name: its format.
        digests: SHA-256 of each of the model's own files.
    """
    return json.dumps([format_name, sorted(digests)])


def export_fp32_onnx(source: ExportSource, path: Path, opset: int) -> None:
    """Write the source's model as FP32 ONNX that carries preprocessing, classes and origin.

    Raises:
        ExportError: when the exporter cannot take the model.
        MissingFileError, CorruptFileError: when it is an ONNX file that is not what it must be.
    """
    shape = source.preprocessing
    if isinstance(source.model, Path):
        import_onnx(source.model, shape, path, opset)
    else:
        example = torch.zeros(1, shape.channels, shape.height, shape.width)
        export_onnx(source.model, example, path, opset)
    metadata = {
        "preprocessing": asdict(source.preprocessing),
        "classes": list(source.classes),
        "origin": source.origin,
    }
    set_metadata(path, {key: json.dumps(value) for key, value in metadata.items()})
