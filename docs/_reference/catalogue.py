"""What there is to choose from, as the commands that list it have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _reference.markdown import block, cell, code, page, table, words
from pipeline.commands.catalogue import (
    datasets_table,
    methods_table,
    models_table,
    recipes_table,
    targets_table,
)
from pipeline.gating.metrics import METRICS

_INTRODUCTION = """\
What there is to choose from, each by its name:

- [distillation methods](methods.md): `compress methods`
- [targets](targets.md): `compress targets`
- [networks and data sets](networks.md): `compress models`, `compress datasets`
- [recipes that ship](recipes.md): `compress recipes`
- [metrics that a gate can limit](metrics.md)"""


def pages() -> dict[str, str]:
    """A page for each kind of thing."""
    return {
        "catalogue.md": page("Names", _INTRODUCTION),
        "methods.md": _methods(),
        "targets.md": _targets(),
        "networks.md": _networks(),
        "recipes.md": _recipes(),
        "metrics.md": _metrics(),
    }


def _methods() -> str:
    methods = methods_table(None).content["methods"]
    overview = [
        [f"[{one['name']}](#{one['name']})", one["family"], words(one["summary"])]
        for one in methods
    ]
    return page(
        "Distillation methods",
        "What a stage can be made of; [the loss](../method.md) says how they go together.",
        table(["method", "family", "what it does"], overview),
        *[_method(one) for one in methods],
    )


def _method(method: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} = {json.dumps(one)}" for key, one in method["settings"].items())
    loss = f"{method['default_ce_weight']:g} CE + {method['default_weight']:g} {method['name']}"
    rows = [
        ["paper", words(method["paper"])],
        ["formula", cell(method["formula"])],
        ["family", method["family"]],
        ["needs", words(", ".join(method["needs"]))],
        ["loss of a stage of it alone", cell(loss)],
        ["can hold a reference", "yes" if method["holds_reference"] else "no"],
        ["compares the samples of a batch", "yes" if method["compares_samples"] else "no"],
        ["settings", cell(settings) if settings else "none"],
    ]
    return f"## {method['name']}\n\n{words(method['summary'])}\n\n{table(['', ''], rows)}"


def _targets() -> str:
    shown = [one for one in targets_table(None).content["targets"] if one["shipped"]]
    return page(
        "Targets",
        "Device classes that ship; [targets](../targets.md) says how to write one of your own.",
        *[_target(one) for one in shown],
    )


def _target(target: dict[str, Any]) -> str:
    profile = target["profile"]
    skipped = {"name", "description", "runtimes", "quantization", "sources"}
    facts = {key: value for key, value in profile.items() if key not in skipped}
    rows = [
        [cell(key), cell(_shown(value)), words(profile["sources"].get(key, ""))]
        for key, value in facts.items()
        if value not in (None, [], {})
    ]
    rows += [
        ["runtime", cell(f"{one['name']} {one['version']}"), words(one.get("source") or "")]
        for one in profile["runtimes"]
    ]
    scheme = {key: value for key, value in profile["quantization"].items() if key != "reason"}
    rows.append(["INT8", cell(_shown(scheme)), words(profile["quantization"].get("reason") or "")])
    is_alias = profile["name"] != target["name"]
    alias = f"Another name for {code(profile['name'])}. " if is_alias else ""
    table_shown = table(["fact", "value", "source"], rows)
    return f"## {target['name']}\n\n{alias}{words(profile['description'])}\n\n{table_shown}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {_shown(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _networks() -> str:
    models = models_table().content["models"]
    datasets = datasets_table().content["datasets"]
    return page(
        "Networks and data sets",
        "Networks for small images; `torchvision/NAME`, `timm/NAME` and a factory of your own, "
        "`package.module:factory`, go wherever these do.",
        "## Networks",
        table(
            ["network", "parameters, 10 classes"],
            [[cell(one["name"]), f"{one['parameters']:,}"] for one in models],
        ),
        "## Data sets",
        table(
            ["data set", "what it is"],
            [[cell(one["name"]), words(one["summary"])] for one in datasets],
        ),
    )


def _recipes() -> str:
    recipes = recipes_table(None).content["recipes"]
    parts = [
        f"## {one['name']}\n\n{words(one['summary'])}\n\n"
        + block(Path(one["path"]).read_text(encoding="utf-8"), "toml")
        for one in recipes
    ]
    return page("Recipes that ship", "Begin your own with one: `compress recipes NAME`.", *parts)


def _metrics() -> str:
    rows = [
        [cell(name), words(metric.words), metric.unit, f"{metric.better} is better"]
        for name, metric in METRICS.items()
    ]
    return page(
        "Metrics of a gate",
        "What `[gate.limits]` and a budget can limit; any other percentile is written "
        '`"latency_p99.9_ms"`. [Gating a release](../ci.md) says how each is judged, and '
        "[Any ONNX graph](../any-graph.md#bench-and-gate) has those of graphs that are no "
        "classifiers.",
        table(["metric", "what it is", "unit", ""], rows),
    )
