"""The model card: what a bundle is, told to the person who receives it and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from export.preparing import fitting_words, preparing_lines
from foundation.bundle import PROBE, BundleManifest, GraphManifest, Manifest
from foundation.output_agreement import OutputAgreement
from foundation.records import build

_COLOURS = {1: "grey", 3: "RGB"}
_PRECISIONS = {
    "fp32": "32-bit floating point, as it was trained",
    "fp16": "weights kept as 16-bit floating point, half the size; rounding costs little",
    "bf16": "computed in bfloat16 where the CPU can, which is faster; the hint below asks for it",
    "int8": "quantised to 8-bit integers: about a quarter of the size, and faster on most CPUs",
}


# What Markdown takes for markup, as entities, which it shows as what they are.
_ENTITIES = {ord(letter): f"&#{ord(letter)};" for letter in "&<>[]!*#`|\\~@"}
# Bare addresses become links by themselves.
_ADDRESSES = re.compile(r"(?i)https?:|ftp:|mailto:|xmpp:|www\.")


def model_card(manifest: Manifest, folder: Path) -> str:
    """A classifier's card, as Markdown.

    Args:
        manifest: the bundle's, with all files but the card.
        folder: where these files are.
    """
    return _rendered(
        "card.md.j2",
        manifest,
        folder,
        shape=manifest.preprocessing,
        colour=_COLOURS.get(manifest.preprocessing.channels, "its own"),
        fitting=fitting_words(manifest.preprocessing),
        preparing=preparing_lines(manifest.preprocessing),
    )


def graph_card(manifest: GraphManifest, folder: Path) -> str:
    """The card of a graph that is no classifier; arguments as `model_card`."""
    outputs = [build(OutputAgreement, raw) for raw in manifest.parity.get("outputs", [])]
    return _rendered("graph_card.md.j2", manifest, folder, agreements=outputs)


def _rendered(template: str, manifest: BundleManifest, folder: Path, **more: Any) -> str:
    """A card; `more` is what its template takes beside what every one has."""
    quantization = manifest.format_facts.get("quantization", {})
    environment = Environment(
        loader=PackageLoader("export", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, read as text; what could break a line is made plain
    )
    environment.filters |= {
        "repr": repr,
        "plain": _plain,
        "code": _code,
        "percent": "{:.2%}".format,
    }
    sizes = {name: (folder / name).stat().st_size for name in manifest.files}
    return environment.get_template(template).render(
        m=manifest,
        precision=_PRECISIONS.get(manifest.precision, "a number format of its own"),
        scheme=_scheme(quantization),
        reason=quantization.get("reason", ""),
        sizes=sizes,
        model_bytes=sum(size for name, size in sizes.items() if name != PROBE),
        **more,
    )


def _scheme(quantization: dict[str, Any]) -> list[str]:
    """What a quantisation scheme has and does, in words, a line each; its reason aside."""
    shown = {key: value for key, value in quantization.items() if key != "reason" and value}
    return [f"{key.replace('_', ' ')}: {_words(value)}" for key, value in shown.items()]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_words(key)} {_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "yes" if value is True else _plain(value)


def _plain(value: Any) -> str:
    """Text that stays on its line and in its cell, and is nothing but text: no HTML, picture, link
    or emphasis comes of a name."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    text = " ".join(text.split()).translate(_ENTITIES)
    return _ADDRESSES.sub(lambda match: match[0][:-1] + f"&#{ord(match[0][-1])};", text)


def _code(value: Any) -> str:
    """Text between backticks, in a cell of a table too; nothing in there is anything but text."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")
