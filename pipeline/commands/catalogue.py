"""What there is to choose from: recipes, targets, methods, models, datasets."""

from __future__ import annotations

import fnmatch
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.text import Text

from deploy_targets.targets import Target, is_shipped, load_target, own_folder, target_names
from foundation.records import as_dict
from pipeline.recipe.by_name import ShippedRecipe, shipped_names, shipped_recipe
from pipeline.shown.outcome import Outcome, table_of
from pipeline.shown.words import number

_NOT_FACTS = {"name", "description", "runtimes", "quantization", "sources", "published"}


@dataclass(frozen=True, kw_only=True)
class RecipesShown:
    """What `compress recipes --json` prints."""

    schema_version: int = 1
    kind: str = "recipes"
    recipes: list[ShippedRecipe]


@dataclass(frozen=True)
class TargetShown:
    """A device class.

    Attributes:
        name: by which it is asked for; an alias has another than its profile.
        shipped: False for a profile of the user's own.
        peak_gops: theoretical, by number format, in 10⁹ operations a second; empty where the
            clock is not known.
        profile: the target, with where each fact is from.
    """

    name: str
    shipped: bool
    peak_gops: dict[str, float]
    profile: Target


@dataclass(frozen=True, kw_only=True)
class TargetsShown:
    """What `compress targets --json` prints."""

    schema_version: int = 1
    kind: str = "targets"
    targets: list[TargetShown]


@dataclass(frozen=True)
class MethodShown:
    """A distillation method.

    Attributes:
        family: "response", "feature" or "relation".
        needs: what it reads of teacher and student.
        compares_samples: whether it looks at the samples of a batch together.
        default_weight: of its loss, where a stage gives none.
        default_ce_weight: of the cross-entropy with the labels in a stage of this method alone.
        holds_reference: whether it can stand in a stage's reference_methods.
        settings: their defaults, by name.
    """

    name: str
    family: str
    summary: str
    paper: str
    formula: str
    needs: list[str]
    compares_samples: bool
    default_weight: float
    default_ce_weight: float
    holds_reference: bool
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class MethodsShown:
    """What `compress methods --json` prints."""

    schema_version: int = 1
    kind: str = "methods"
    methods: list[MethodShown]


@dataclass(frozen=True)
class ModelShown:
    """A network.

    Attributes:
        parameters: for ten classes of RGB images; None for a library's.
        weights: names of the library's pretrained ones; empty for our own networks.
    """

    name: str
    parameters: int | None
    weights: list[str]


@dataclass(frozen=True, kw_only=True)
class ModelsShown:
    """What `compress models --json` prints."""

    schema_version: int = 1
    kind: str = "models"
    models: list[ModelShown]


@dataclass(frozen=True)
class DatasetShown:
    """A dataset."""

    name: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class DatasetsShown:
    """What `compress datasets --json` prints."""

    schema_version: int = 1
    kind: str = "datasets"
    datasets: list[DatasetShown]


def recipes_table(name: str | None) -> Outcome:
    """All recipes that ship with the program, or one as it stands in its file.

    Raises:
        UnknownNameError: when there is none of that name.
    """
    recipes = [
        shipped_recipe(recipe_name) for recipe_name in (shipped_names() if name is None else [name])
    ]
    content = as_dict(RecipesShown(recipes=recipes))
    if name is not None:
        text = Path(recipes[0].path).read_text(encoding="utf-8")
        return Outcome(content, [Text(text.rstrip("\n"))])
    rows = [[recipe.name, recipe.summary, recipe.commands[0]] for recipe in recipes]
    note = "`compress recipes NAME` shows one whole: begin your own with it"
    return Outcome(
        content, [table_of("Recipes", ["recipe", "what it is for", "begin with"], rows), note]
    )


def targets_table(name: str | None) -> Outcome:
    """All targets, or one whole, with where each fact is from."""
    names = target_names() if name is None else [name]
    found = [_target_shown(target_name) for target_name in names]
    content = as_dict(TargetsShown(targets=found))
    if name is not None:
        return Outcome(content, [_target_facts(found[0])])
    rows = [_target_row(target) for target in found]
    columns = ["target", "arch", "cores", "peak GOP/s, FP32 · INT8", "runtimes", "precisions", ""]
    notes = [
        "peak: theoretical, of the cores that are used; – where the clock is not known",
        escape(f"profiles of your own: NAME.toml in {own_folder()}, or --target path.toml"),
    ]
    return Outcome(content, [table_of("Targets", columns, rows), *notes])


def _target_shown(name: str) -> TargetShown:
    target = load_target(name)
    return TargetShown(name, is_shipped(name), _peak(target), target)


def _target_row(shown: TargetShown) -> list[str]:
    target, peak = shown.profile, shown.peak_gops
    alias = f"→ {target.name}: " if shown.name != target.name else ""
    yours = "" if shown.shipped else "(yours) "
    return [
        shown.name,
        target.arch,
        str(target.cores or "–"),
        " · ".join(number(peak.get(precision), 0) for precision in ("fp32", "int8"))
        if peak
        else "–",
        ", ".join(target.runtime_names),
        ", ".join(target.precisions),
        f"{yours}{alias}{target.description}",
    ]


def _target_facts(shown: TargetShown) -> Any:
    """A row a fact, with its value and its source."""
    target = shown.profile
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
        for key, rate in shown.peak_gops.items()
    ]
    rows += [
        ["runtime", f"{runtime.name} {runtime.version}", runtime.source]
        for runtime in target.runtimes
    ]
    rows += [
        [
            "published",
            f"{latency.runtime} {latency.precision}, {latency.network}: {latency.ratio:.2f} of the "
            "time of ONNX Runtime in FP32",
            latency.source,
        ]
        for latency in target.published
    ]
    scheme = {key: value for key, value in content["quantization"].items() if key != "reason"}
    rows.append(["INT8", _words(scheme), target.quantization.reason])
    whose = "" if shown.shipped else " (yours)"
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

    def describe(key: str) -> MethodShown:
        method = METHODS.get(key)
        return MethodShown(
            name=key,
            family=method.family,
            summary=_summary(method),
            paper=method.paper,
            formula=method.formula,
            needs=["logits", *method.needs],
            compares_samples=method.relates_samples,
            default_weight=method.default_weight,
            default_ce_weight=method.default_ce_weight,
            holds_reference=method.holds,
            settings={setting.name: setting.default for setting in settings_of(method)},
        )

    methods = [describe(key) for key in (METHODS.names() if name is None else [name])]
    content = as_dict(MethodsShown(methods=methods))
    if name is not None:
        return Outcome(content, [_facts(name, as_dict(methods[0]))])
    rows = [
        [method.name, method.family, _default_loss(method), method.formula] for method in methods
    ]
    columns = ["method", "family", "default loss", "formula"]
    note = "a stage's ce_weight and a method's weight take the place of the default's numbers"
    return Outcome(content, [table_of("Distillation methods", columns, rows), note])


def _default_loss(method: MethodShown) -> str:
    """The weights of a stage of this method alone: "0.1 CE + 0.9 kd"."""
    return f"{method.default_ce_weight:g} CE + {method.default_weight:g} {method.name}"


def models_table(pattern: str | None = None) -> Outcome:
    """Our own models with their size for ten classes of RGB images, or a library's names.

    Args:
        pattern: which: "wrn*"; for a library's "torchvision/", "torchvision/*net*". None for all
            of our own.

    Raises:
        UnknownNameError: when there is none such.
    """
    library, slash, names = (pattern or "*").partition("/")
    return _library_models(library, names or "*") if slash else _own_models(library)


def _own_models(pattern: str) -> Outcome:
    import torch  # noqa: PLC0415

    from pipeline.models import LIBRARIES, MODELS, build_model  # noqa: PLC0415 - torch
    from pipeline.models.costs import parameter_count  # noqa: PLC0415 - torch

    names = fnmatch.filter(MODELS.names(), pattern) or [pattern]
    with torch.device("meta"):  # Counts need no numbers.
        sizes = {name: parameter_count(build_model(name, 10, 3)) for name in names}
    models = [ModelShown(name, count, []) for name, count in sizes.items()]
    rows = [[name, f"{count:,}"] for name, count in sizes.items()]
    libraries = ", ".join(f"{library}/NAME" for library in LIBRARIES.names())
    note = (
        f"More: {libraries} (`compress models {LIBRARIES.names()[-1]}/` lists them), "
        'and any factory as "package.module:factory"'
    )
    content = as_dict(ModelsShown(models=models))
    return Outcome(content, [table_of("Models", ["model", "parameters, 10 classes"], rows), note])


def _library_models(library: str, pattern: str) -> Outcome:
    from pipeline.models import LIBRARIES, find_factory  # noqa: PLC0415 - torch

    chosen = LIBRARIES.get(library)
    names = fnmatch.filter(chosen.names(), pattern)
    if not names:
        find_factory(f"{library}/{pattern}")  # knows how to say so
    weights = {f"{library}/{name}": chosen.weights(name) for name in names}
    models = [ModelShown(name, None, list(known)) for name, known in weights.items()]
    content = as_dict(ModelsShown(models=models))
    rows = [[name, ", ".join(known) or "–"] for name, known in weights.items()]
    columns = ["model", f"pretrained weights ({library}:…)"]
    return Outcome(content, [table_of(f"Models of {library}", columns, rows)])


def datasets_table() -> Outcome:
    """All datasets, each in a line of its own words."""
    from pipeline.data import DATASETS  # noqa: PLC0415 - scikit-learn

    datasets = [DatasetShown(name, _summary(load)) for name, load in DATASETS.items()]
    rows = [[dataset.name, dataset.summary] for dataset in datasets]
    content = as_dict(DatasetsShown(datasets=datasets))
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
