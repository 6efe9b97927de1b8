"""What the Tab key offers: run folders, bundles, recipes, targets, methods, keys of the recipe.

A person waits for it, so nothing here imports torch, and what cannot be read is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from foundation.errors import CompressError

Completer = Callable[[str], list[str]]

_RUNS = Path("runs")


def complete_run(incomplete: str) -> list[str]:
    """Run folders under runs/, and folders that a path leads through."""
    runs = [str(path.parent) for path in _RUNS.glob("*/run.json")]
    return _beginning([*runs, *_folders(incomplete)], incomplete)


def complete_measured(incomplete: str) -> list[str]:
    """Run folders, and files of measurements."""
    return sorted({*complete_run(incomplete), *_files(incomplete, ".json")})


def complete_recipe(incomplete: str) -> list[str]:
    """Recipes that ship, and TOML files."""
    from pipeline.recipe.by_name import shipped_names  # noqa: PLC0415

    return [*_beginning(shipped_names(), incomplete), *_files(incomplete, ".toml")]


def complete_bundle(incomplete: str) -> list[str]:
    """Names of the bundles of all runs under runs/."""
    names = [path.parent.name for path in _RUNS.glob("*/bundles/*/bundle.json")]
    return _beginning(names, incomplete)


def complete_target(incomplete: str) -> list[str]:
    """Targets that ship and one's own."""
    from deploy_targets.targets import target_names  # noqa: PLC0415

    with suppress(CompressError):
        return _beginning(target_names(), incomplete)
    return []


def complete_methods(incomplete: str) -> list[str]:
    """Methods, the last of a list with commas."""
    import smskd  # noqa: PLC0415 - lazily, so no torch

    # A method is a file of its name there.
    folder = Path(str(smskd.__file__)).with_name("methods")
    files = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")]
    names = [stem.replace("_", "-") for stem in files]
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _beginning([*names, "quant"], last)]


def complete_key(incomplete: str) -> list[str]:
    """Keys of the recipe, for --set KEY=VALUE."""
    from pipeline.recipe.keys import places  # noqa: PLC0415

    return [] if "=" in incomplete else _beginning((f"{key}=" for key in places()), incomplete)


def among(words: Iterable[str]) -> Completer:
    """One of some words."""
    known = sorted(words)
    return lambda incomplete: _beginning(known, incomplete)


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})


def _folders(incomplete: str) -> Iterator[str]:
    return (f"{path}/" for path in _entries(incomplete) if path.is_dir())


def _files(incomplete: str, suffix: str) -> list[str]:
    found = [str(path) for path in _entries(incomplete) if path.suffix == suffix]
    return _beginning([*found, *_folders(incomplete)], incomplete)


def _entries(incomplete: str) -> Iterator[Path]:
    parent = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    with suppress(OSError):
        yield from (path for path in parent.iterdir() if not path.name.startswith("."))
