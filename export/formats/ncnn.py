"""ncnn: FP32, or FP16 that is computed in FP16 where a CPU can. pnnx converts; ncnn answers.

INT8 is not here: the program that calibrates ncnn's integers is not in its Python package.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from export.formats import FORMATS, Calibration, ExportFormat, Predictor, Written
from export.quantization import QuantizationScheme
from export.samples import GraphSamples
from foundation.errors import ExportError
from foundation.files import write_text

logger = logging.getLogger(__name__)

MODEL_FILE, WEIGHTS_FILE = "model.ncnn.param", "model.ncnn.bin"
# The first two lines of a .param file: its format, and how many layers and blobs there are.
_HEAD = 2
_INPUT = re.compile(r"(Input\s+\S+\s+0 1 (\S+)).*")
# Weights that lie in the file as halves begin with this word.
_HALVES = (0x01306B47).to_bytes(4, "little")


@FORMATS.register("ncnn")
class NcnnFormat(ExportFormat):
    name: ClassVar[str] = "ncnn"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")
    calibrated: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ("ncnn", "pnnx")

    def write(
        self,
        source: Path,
        precision: str,
        folder: Path,
        calibration: Calibration,
        scheme: QuantizationScheme,
    ) -> Written:
        del scheme
        if isinstance(calibration, GraphSamples):
            raise ExportError("format ncnn is for classifiers of images; use onnx or openvino")
        channels, height, width = calibration.shape[1:]
        with tempfile.TemporaryDirectory() as scratch:
            made = _converted(source, (channels, height, width), precision, Path(scratch))
            lines = made.read_text(encoding="ascii").splitlines()
            # The size is not checked by ncnn, which would answer an image of another one.
            size = f"0={width} 1={height} 2={channels}"
            lines = [_INPUT.sub(rf"\1 {size}", line) for line in lines]
            inputs, output = _ends(lines)
            shutil.copyfile(made.with_suffix(".bin"), folder / WEIGHTS_FILE)
            write_text(folder / MODEL_FILE, "\n".join(lines) + "\n")
        facts = {name: metadata.version(name) for name in ("ncnn", "pnnx")}
        return Written(MODEL_FILE, inputs, output, facts)

    def load(self, model_file: Path) -> Predictor:
        import ncnn  # noqa: PLC0415 - an extra

        net = ncnn.Net()
        # All in floats of 32 bits: what is in the file, and not what this CPU makes of it.
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(net.opt, f"use_{name}", False)
        net.opt.num_threads = 1
        weights = model_file.with_name(WEIGHTS_FILE)
        if net.load_param(str(model_file)) or net.load_model(str(weights)):
            raise ExportError(f"{model_file}: ncnn {ncnn.__version__} cannot load it; export again")
        (input_name,), (output_name,) = net.input_names(), net.output_names()

        def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            answers = []
            # It reads memory in order, whatever the strides say.
            for image in np.ascontiguousarray(batch):
                extractor = net.create_extractor()
                extractor.input(input_name, ncnn.Mat(image))
                failed, logits = extractor.extract(output_name)
                if failed:
                    raise ExportError(f"{model_file}: ncnn cannot run it on {image.shape}")
                answers.append(np.array(logits, np.float32))
            return np.stack(answers)

        return predict

    def precision_of(self, model_file: Path) -> str:
        weights = model_file.with_name(WEIGHTS_FILE)
        return "fp16" if weights.read_bytes()[:4] == _HALVES else "fp32"


def _converted(source: Path, shape: tuple[int, ...], precision: str, scratch: Path) -> Path:
    """The .param file that pnnx makes of an ONNX file; its weights lie beside it.

    Raises:
        ExportError: when there is an operator that ncnn lacks; it names it.
    """
    import ncnn  # noqa: PLC0415 - an extra

    graph = scratch / "model.onnx"
    shutil.copyfile(source, graph)  # all that pnnx writes lies beside what it reads
    sizes = ",".join(map(str, (1, *shape)))
    command = [_program(), graph, f"inputshape=[{sizes}]", f"fp16={int(precision == 'fp16')}"]
    done = subprocess.run(
        list(map(str, command)), cwd=scratch, capture_output=True, text=True, check=False
    )
    logger.debug("pnnx ended with %d: %s", done.returncode, done.stdout + done.stderr)
    made = scratch / MODEL_FILE
    if done.returncode or not made.is_file():
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        told = lines[-1].strip()[:200] if lines else f"it ended with {done.returncode}"
        raise ExportError(f"pnnx cannot convert the graph to ncnn ({told}); use another format")
    kinds = {line.split()[0] for line in made.read_text(encoding="ascii").splitlines()[_HEAD:]}
    # What pnnx has no layer for it leaves as it was, and says nothing that can be relied on.
    lacking = sorted(kind for kind in kinds if ncnn.layer_to_index(kind) < 0)
    if lacking:
        raise ExportError(
            f"ncnn has no {', '.join(lacking)}; use another format, or a network without it"
        )
    return made


def _program() -> Path:
    found = importlib.util.find_spec("pnnx")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).with_name("pnnx.exe" if sys.platform == "win32" else "pnnx")


def _ends(lines: list[str]) -> tuple[str, str]:
    """Names of the one input and the one output of a .param file."""
    entries = list(_layers(lines))
    read = {name for _, inputs, _ in entries for name in inputs}
    (taken,) = (outputs[0] for kind, _, outputs in entries if kind == "Input")
    (given,) = (name for _, _, outputs in entries for name in outputs if name not in read)
    return taken, given


def _layers(lines: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Kind, inputs and outputs of each layer."""
    for line in lines[_HEAD:]:
        kind, _, inputs, outputs, *names = line.split()
        yield kind, names[: int(inputs)], names[int(inputs) :][: int(outputs)]
