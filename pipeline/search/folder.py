"""The folder of a search: what was asked, its trials, what they share, and the front.

RUN/
  recipe.toml  search.json  search.db (unless the storage is elsewhere)
  trials/0007/ (run folders)  trials/teacher-views/  teachers/KEY/ (run folders)  floats/
  reference/BUNDLE/  reference.json
  front.json  front.csv  report.html  picks.json  logs/

Processes on several machines that take part in one search share it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from foundation.errors import MissingFileError, RecipeError, RunMismatchError
from foundation.files import no_space_named, write_json, write_text
from foundation.records import as_dict, read_record
from foundation.sense import named
from pipeline.recipe.file import dump_recipe, recipe_values
from pipeline.recipe.sections.recipe import Recipe
from pipeline.recipe.sections.search import SearchRecipe
from pipeline.run_folder.binding import first_difference, teacher_values
from pipeline.run_folder.folder import DEFAULT_ROOT, SEARCH, RunFolder

# What of [search] may change while it goes on.
_FREE = ("trials", "limits", "jobs", "threads", "retries", "storage", "lost_after")


@dataclass(frozen=True, kw_only=True)
class SearchIdentity:
    """What a search's folder is, and where its trials are kept.

    Attributes:
        id: by which the storage knows it.
        storage: URL of it.
        asked: what all its trials depend on: the recipe without what may change.
    """

    schema_version: int = 1
    kind: str = "search-folder"
    id: str
    storage: str
    asked: dict[str, Any]

    def problems(self) -> Iterator[str]:
        """What of it cannot be."""
        yield from named(id=self.id, storage=self.storage)


@dataclass(frozen=True)
class SearchFolder:
    """A search on disk, and where each thing in it lies."""

    path: Path

    @property
    def identity_path(self) -> Path:
        return self.path / SEARCH

    @property
    def recipe_path(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def trials(self) -> Path:
        return self.path / "trials"

    @property
    def reference(self) -> Path:
        """Takes the folder of the bundle that every other is timed in turns with."""
        return self.path / "reference"

    @property
    def reference_path(self) -> Path:
        """How fast that bundle was when it became the reference."""
        return self.path / "reference.json"

    @property
    def floats(self) -> Path:
        """FP32 graphs of students, for all trials that differ in what comes after."""
        return self.path / "floats"

    @property
    def front_path(self) -> Path:
        return self.path / "front.json"

    @property
    def table_path(self) -> Path:
        return self.path / "front.csv"

    @property
    def picks_path(self) -> Path:
        """Which points were picked so far, and what the test images said of them."""
        return self.path / "picks.json"

    def trial(self, number: int) -> RunFolder:
        """The run folder of a trial."""
        return RunFolder(self.trials / f"{number:04d}")

    def log(self, number: int) -> Path:
        """What libraries print while a trial is worked on."""
        return self.path / "logs" / f"trial-{number:04d}.txt"

    def teacher(self, recipe: Recipe) -> RunFolder:
        """The run folder of the teacher that a recipe asks for, whoever else asks for the same."""
        values = json.dumps(teacher_values(recipe), sort_keys=True)
        return RunFolder(self.path / "teachers" / hashlib.sha256(values.encode()).hexdigest()[:12])

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """One process after the other, on all machines; a lock dies with its process."""
        with no_space_named(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / f".{what}.lock"):
            yield

    def identity(self) -> SearchIdentity:
        """What the folder is.

        Raises:
            CorruptFileError: when the file is none of ours.
        """
        advice = "put it back as it was, or choose another folder with --run"
        return read_record(self.identity_path, SearchIdentity, "the identity of a search", advice)


def start_search(path: Path, recipe: Recipe) -> tuple[SearchFolder, SearchIdentity]:
    """Make a search's folder, or go on with the one that is there.

    Raises:
        RunMismatchError: when something else lies there, the search of another recipe, or one that
            is kept in another storage.
    """
    folder = SearchFolder(path)
    run = RunFolder(path)
    if run.record_path.exists():
        raise RunMismatchError(f"{path}: a run lies here; choose another folder with --run")
    if run.recipe_path.exists() and not folder.identity_path.exists():
        raise RunMismatchError(f"{path}: a study lies here; choose another folder with --run")
    settings = settings_of(recipe)
    with folder.alone("start"):
        if folder.identity_path.exists():
            identity = folder.identity()
            _check_same(path, identity, recipe)
        else:
            identity = SearchIdentity(
                id=f"{recipe.name}-{secrets.token_hex(4)}",
                storage=settings.storage or f"sqlite:///{(path / 'search.db').resolve()}",
                asked=_asked(recipe),
            )
            write_text(folder.recipe_path, dump_recipe(recipe))
            write_json(folder.identity_path, as_dict(identity))
    return folder, identity


def open_search(path: Path | None) -> SearchFolder:
    """The search at `path`, or the one used last under `runs/` when none is named.

    Raises:
        MissingFileError: when there is none.
    """
    if path is None:
        places = [found.parent for found in DEFAULT_ROOT.glob(f"*/{SEARCH}")]
        if not places:
            raise MissingFileError(
                f"{DEFAULT_ROOT}/: no search here yet; make one with `compress search RECIPE`"
            )
        path = max(places, key=lambda place: (place / SEARCH).stat().st_mtime)
    if not (path / SEARCH).is_file():
        raise MissingFileError(f"{path}: not the folder of a search (no {SEARCH})")
    return SearchFolder(path)


def settings_of(recipe: Recipe) -> SearchRecipe:
    """The recipe's `[search]`.

    Raises:
        RecipeError: when it has none.
    """
    if recipe.search is None:
        raise RecipeError(
            f"recipe {recipe.name}: it has no [search]; say there what may vary "
            "(docs/search.md), or begin with the recipe that ships: compress recipes digits-search"
        )
    return recipe.search


def _asked(recipe: Recipe) -> dict[str, Any]:
    """All that the trials depend on; the default of a key may be spelled out or not."""
    values: dict[str, Any] = recipe_values(recipe)
    values["search"] = {k: v for k, v in values["search"].items() if k not in _FREE}
    for section in ("study", "gate"):
        values.pop(section, None)
    return values


def _check_same(path: Path, identity: SearchIdentity, recipe: Recipe) -> None:
    difference = first_difference(identity.asked, _asked(recipe))
    if difference:
        raise RunMismatchError(
            f"{path}: the search of another recipe lies here: {difference}; choose another folder "
            "with --run, or delete this one"
        )
    storage = settings_of(recipe).storage
    if storage is not None and storage != identity.storage:
        raise RunMismatchError(
            f"{path}: this search is kept in {identity.storage}, not in {storage}; leave --storage "
            "out to go on with it, or choose another folder with --run"
        )
