"""What there is to choose from: targets, methods, models, datasets."""

from __future__ import annotations

import fnmatch
import inspect
from typing import Any

from rich.markup import escape

from deploy_targets.records import as_dict
from deploy_targets.targets import Target, is_shipped, load_target, own_folder, target_names
from pipeline.display import Outcome, number, table_of

_NOT_FACTS = {"name", "description", "runtimes", "quantization", "sources"}


def targets_table(name: str | None) -> Outcome:
    """All targets, or one whole, with where each fact is from."""
    if name is not None:
        return Outcome(_target_content(name), [_target_facts(load_target(name), is_shipped(name))])
    rows = [_target_row(each, load_target(each)) for each in target_names()]
    columns = ["target", "arch", "cores", "peak GOP/s, FP32 · INT8", "runtimes", "precisions", ""]
    notes = [
        "peak: theoretical, of the cores that are used; – where the clock is not known",
        escape(f"profiles of your own: NAME.toml in {own_folder()}, or --target path.toml"),
    ]
    content = [_target_content(each) for each in target_names()]
    return Outcome(content, [table_of("Targets", columns, rows), *notes])


def _target_content(name: str) -> dict[str, Any]:
    target = load_target(name)
    peak = _peak(target)
    return {**as_dict(target), "asked": name, "shipped": is_shipped(name), "peak_gops": peak}


def _target_row(name: str, target: Target) -> list[str]:
    alias = f"→ {target.name}: " if name != target.name else ""
    yours = "" if is_shipped(name) else "(yours) "
    peak = _peak(target)
    return [
        name,
        target.arch,
        str(target.cores or "–"),
        " · ".join(number(peak.get(each), 0) for each in ("fp32", "int8")) if peak else "–",
        ", ".join(target.runtime_names),
        ", ".join(target.precisions),
        f"{yours}{alias}{target.description}",
    ]


def _target_facts(target: Target, shipped: bool) -> Any:
    """A row a fact, with its value and its source."""
    content = as_dict(target)
    known = {key: value for key, value in content.items() if key not in _NOT_FACTS}
    sources = {"onnx_opset": "the newest that every allowed ONNX Runtime runs", **target.sources}
    rows = [
        [key, _fact(value), sources.get(key, "")]
        for key, value in known.items()
        if value not in (None, [], {})
    ]
    rows += [
        [f"peak {key.upper()}", f"{rate:,.1f} GOP/s", "per cycle × clock × cores used"]
        for key, rate in _peak(target).items()
    ]
    rows += [["runtime", f"{one.name} {one.version}", one.source] for one in target.runtimes]
    scheme = {key: value for key, value in content["quantization"].items() if key != "reason"}
    rows.append(["INT8", _words(scheme), target.quantization.reason])
    whose = "" if shipped else " (yours)"
    title = f"Target {target.name}{whose}: {target.description}"
    return table_of(title, ["fact", "value", "source"], rows)


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else _words(value)


def _peak(target: Target) -> dict[str, float]:
    return target.peak_gops(target.threads or target.cores or 1)


def methods_table(name: str | None) -> Outcome:
    """All distillation methods, or one with its settings."""
    from smskd.methods import METHODS, settings_of  # noqa: PLC0415 - torch

    def describe(key: str) -> dict[str, Any]:
        method = METHODS.get(key)
        return {
            "name": key,
            "family": method.family,
            "summary": _summary(method),
            "paper": method.paper,
            "formula": method.formula,
            "needs": ["logits", *method.needs],
            "compares samples": method.relates_samples,
            "default_weight": method.default_weight,
            "settings": {setting.name: setting.default for setting in settings_of(method)},
        }

    if name is not None:
        content = describe(name)
        return Outcome(content, [_facts(name, content)])
    all_methods = [describe(key) for key in METHODS.names()]
    rows = [[m["name"], m["family"], m["paper"], m["formula"]] for m in all_methods]
    columns = ["method", "family", "paper", "formula"]
    return Outcome(all_methods, [table_of("Distillation methods", columns, rows)])


def models_table(pattern: str | None = None) -> Outcome:
    """Our own models with their size for ten classes of RGB images, or a library's names.

    Args:
        pattern: which: "wrn*"; for a library's "torchvision/", "torchvision/*net*". None for all
            of our own.

    Raises:
        UnknownNameError: when there is none such.
    """
    library, slash, wanted = (pattern or "*").partition("/")
    return _library_models(library, wanted or "*") if slash else _own_models(library)


def _own_models(pattern: str) -> Outcome:
    import torch  # noqa: PLC0415

    from pipeline.costs import parameter_count  # noqa: PLC0415 - torch
    from pipeline.models import LIBRARIES, MODELS, build_model  # noqa: PLC0415 - torch

    names = fnmatch.filter(MODELS.names(), pattern) or [pattern]
    with torch.device("meta"):  # Counts need no numbers.
        sizes = {name: parameter_count(build_model(name, 10, 3)) for name in names}
    content = [{"name": name, "parameters": count} for name, count in sizes.items()]
    rows = [[name, f"{count:,}"] for name, count in sizes.items()]
    libraries = ", ".join(f"{library}/NAME" for library in LIBRARIES.names())
    note = (
        f"More: {libraries} (`compress models {LIBRARIES.names()[-1]}/` lists them), "
        'and any factory as "package.module:factory"'
    )
    return Outcome(content, [table_of("Models", ["model", "parameters, 10 classes"], rows), note])


def _library_models(library: str, pattern: str) -> Outcome:
    from pipeline.models import LIBRARIES, find_factory  # noqa: PLC0415 - torch

    chosen = LIBRARIES.get(library)
    names = fnmatch.filter(chosen.names(), pattern)
    if not names:
        find_factory(f"{library}/{pattern}")  # knows how to say so
    weights = {f"{library}/{name}": chosen.weights(name) for name in names}
    content = [{"name": name, "weights": known} for name, known in weights.items()]
    rows = [[name, ", ".join(known) or "–"] for name, known in weights.items()]
    columns = ["model", f"pretrained weights ({library}:…)"]
    return Outcome(content, [table_of(f"Models of {library}", columns, rows)])


def datasets_table() -> Outcome:
    """All datasets, each in a line of its own words."""
    from pipeline.data import DATASETS  # noqa: PLC0415 - scikit-learn

    content = [{"name": name, "summary": _summary(load)} for name, load in DATASETS.items()]
    rows = [[one["name"], one["summary"]] for one in content]
    return Outcome(content, [table_of("Datasets", ["dataset", "what it is"], rows)])


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _facts(title: str, content: dict[str, Any]) -> Any:
    return table_of(
        title, ["fact", "value"], [[key, _words(value)] for key, value in content.items()]
    )


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key} = {_words(inner)}" for key, inner in value.items()) or "–"
    if isinstance(value, list):
        return "\n".join(map(_words, value)) or "–"
    return "–" if value is None else str(value)
