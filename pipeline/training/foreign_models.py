"""What `compress export` may be given: a run, weights, a network's factory, or an ONNX file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UsageError

GRAPH_SUFFIX = ".onnx"
_WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".tar")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_SIDES = re.compile(r"([1-9]\d{0,4})(?:[x×]([1-9]\d{0,4}))?", re.ASCII | re.IGNORECASE)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Foreign:
    """A trained network that no run of ours made.

    Attributes:
        source: as the user named it.
        model: its model, as a recipe names it: a registered one, a factory, or an ONNX file.
        weights: a checkpoint, or pretrained weights by name; None where `model` has its own.
    """

    source: str
    model: str
    weights: str | None

    @property
    def name(self) -> str:
        """A name for its run folder."""
        if _is_pretrained(self.source):
            stem = f"{self.model}-{self.source.partition(':')[2]}"
        else:
            path = Path(self.source)
            has_known_suffix = path.suffix.lower() in (GRAPH_SUFFIX, *_WEIGHTS_SUFFIXES)
            stem = path.stem if has_known_suffix else path.name
        return _NOT_IN_A_NAME.sub("-", stem).strip("-._") or "foreign"

    def recipe_keys(self, data: str | None, image_size: str | None) -> Mapping[str, Any]:
        """Where it stands in a recipe, with the data that it is judged on.

        Raises:
            UsageError: when no data is given, or the size is none.
        """
        if data is None:
            raise UsageError(
                f"{self.source}: a network from elsewhere needs images to be calibrated and judged "
                "on; add --data, such as --data folder:PATH"
            )
        keys = {
            "name": self.name,
            "data.name": data,
            "data.image_size": None if image_size is None else parse_sides(image_size),
            "student.model": self.model,
            "student.weights": self.weights,
        }
        return {key: value for key, value in keys.items() if value is not None}


def parse_sides(text: str) -> int | list[int]:
    """Height and width as the command line names them: "64", or "32x64" where they differ.

    Raises:
        UsageError: when it is neither.
    """
    match = _SIDES.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"--image-size {text!r} is no size; write one number for both, or HEIGHTxWIDTH, such "
            "as 32x64"
        )
    height, width = match.groups()
    return int(height) if width is None else [int(height), int(width)]


def is_graph(model: str) -> bool:
    """Whether a recipe's model is an ONNX file rather than a network's name."""
    return Path(model).suffix.lower() == GRAPH_SUFFIX


def shown_name(model: str) -> str:
    """A model's name in reports, which travel: where a file lay here is nobody's business there."""
    return Path(model).name if is_graph(model) else model


def is_weights(word: str) -> bool:
    """Whether a word names a file of weights, by its end."""
    return Path(word).suffix.lower() in _WEIGHTS_SUFFIXES


def foreign_source(source: str | None, model: str | None) -> Foreign | None:
    """The foreign network that a user means; None when it is a run folder, or nothing was named.

    Args:
        source: a run folder, weights, "package.module:factory", or an ONNX file.
        model: the model that weights are of.

    Raises:
        UsageError: when weights come without a model, or a model with something that needs none.
    """
    if source is None or Path(source).is_dir():
        return _refuse_model(None, source, model)
    if is_graph(source):
        path = str(Path(source))  # without "./", so that it stays the same file for its run
        return _refuse_model(Foreign(path, path, None), source, model)
    if model is not None:
        path = source if _is_pretrained(source) else str(Path(source))
        return Foreign(path, model, path)
    if (
        Path(source).is_file()
        or Path(source).suffix.lower() in _WEIGHTS_SUFFIXES
        or _is_pretrained(source)
    ):
        raise UsageError(
            f"{source}: weights alone do not say what network they are of; add --model"
        )
    if _FACTORY.fullmatch(source):
        return Foreign(source, source, None)
    return None


def run_to_export(source: str | None, run: Path | None, options: Mapping[str, Any]) -> Path | None:
    """The run folder to export from; None for the one used last.

    Args:
        source: the source that the user named.
        run: what `--run` named.
        options: options that only a network from elsewhere takes, by name.

    Raises:
        UsageError: when two folders are named, or one of the options.
    """
    for name, value in options.items():
        if value is None:
            continue
        if source is not None and not Path(source).is_dir():
            raise UsageError(
                f"{source}: neither a run folder, nor weights, module:factory or an ONNX file; "
                "check the name"
            )
        raise UsageError(
            f"{name} goes with a network from elsewhere; a run's own recipe says it already"
        )
    if source is not None and run is not None:
        raise UsageError(f"{source} and --run {run} both name a run folder; leave out one of them")
    return Path(source) if source is not None else run


def _refuse_model(foreign: Foreign | None, source: str | None, model: str | None) -> Foreign | None:
    if model is not None:
        raise UsageError(
            f"--model {model} goes with weights, but {source or 'no source'} is a "
            f"{'run' if foreign is None else 'graph'}; leave out --model"
        )
    return foreign


def _is_pretrained(source: str) -> bool:
    """Whether it names a library's weights, and no file."""
    if ":" not in source or Path(source).is_file():
        return False
    from pipeline.models import names_weights  # noqa: PLC0415 - torch, for these few alone

    return names_weights(source)
