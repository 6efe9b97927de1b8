"""The site of the docs: its reference has all that the code has, and no warning is given."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml
from _reference import WRITERS
from _reference import pages as reference_pages

from deploy_targets.targets import is_shipped, target_names
from pipeline.cli import app
from pipeline.commands.explain import exit_codes
from pipeline.commands.schemas import RECORDS
from pipeline.gating.metrics import METRICS
from pipeline.recipe.by_name import shipped_names
from pipeline.recipe.keys import places
from smskd.methods import METHODS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@cache
def reference() -> dict[str, str]:
    return reference_pages()


def commands(group, name=""):
    """The words of all commands, with the command."""
    for key, command in group.commands.items():
        words = f"{name} {key}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, words)
        elif not command.hidden:
            yield words, command


def test_no_two_writers_write_one_page() -> None:
    names = [name for writer in WRITERS for name in writer()]
    assert len(names) == len(set(names))


def test_every_command_has_a_page_with_all_its_options() -> None:
    every = dict(commands(typer.main.get_command(app)))
    assert len(every) > 25
    for words, command in every.items():
        page = reference()[f"commands/{words.replace(' ', '-')}.md"]
        for parameter in command.get_params(typer.Context(command, info_name=words)):
            if parameter.name != "help" and not parameter.hidden:
                name = parameter.opts[0]
                shown = name if parameter.param_type_name == "option" else name.upper()
                assert shown in page, (words, shown)


def test_every_key_of_the_recipe_is_there_with_words_for_most() -> None:
    page = reference()["recipe.md"]
    for place in places():
        assert re.search(rf"^\| `{re.escape(place.rpartition('.')[2])}` \|", page, re.MULTILINE)
    rows = re.findall(r"^\| `.*\| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == len(places())
    assert sum(1 for words in rows if words.strip()) > 0.8 * len(rows)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("methods.md", METHODS.names()),
        ("targets.md", [name for name in target_names() if is_shipped(name)]),
        ("metrics.md", list(METRICS)),
        ("recipes.md", shipped_names()),
        ("exit-codes.md", [page.name for page in exit_codes()]),
        ("schemas.md", list(RECORDS)),
    ],
)
def test_everything_of_a_kind_is_on_its_page(page: str, names: list[str]) -> None:
    assert [name for name in names if name not in reference()[page]] == []


def test_every_schema_has_a_page_with_all_its_fields() -> None:
    assert {f"schemas/{kind}.md" for kind in RECORDS} <= set(reference())
    assert "`latency_ms`" in reference()["schemas/submission.md"]


def test_every_link_of_a_page_that_is_made_leads_to_a_page() -> None:
    for name, text in reference().items():
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not re.match(r"https?:", link):
                target = os.path.normpath(f"reference/{name}/../{link}")
                made = target.removeprefix("reference/") in reference()
                assert made or (DOCS / target).is_file(), (name, link)


def test_every_page_is_in_the_table_of_contents_and_nothing_else() -> None:
    text = (DOCS / "_toc.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"file: ([\w/-]+)", text)) | {yaml.safe_load(text)["root"]}
    written = {
        path.relative_to(DOCS).with_suffix("").as_posix()
        for path in DOCS.glob("**/*.md")
        if "reference" not in path.parts
    }
    made = {name.removesuffix(".md") for name in reference()}
    assert written <= listed
    assert listed - written <= {f"reference/{name}" for name in made}


def test_nothing_that_is_made_is_committed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "docs/reference", "site"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tracked.stdout == ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the docs as `make docs` builds it."""
    tree = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("reference", "__pycache__")
    shutil.copytree(DOCS, tree / "docs", ignore=ignored)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, tree)
    (goal,) = re.findall(r"^\t\$\(BIN\)/sphinx-build (.*)$", (ROOT / "Makefile").read_text(), re.M)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *goal.split()],
        cwd=tree, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "it builds, but not in silence"
    return tree / "site"


@pytest.mark.slow
def test_it_builds_without_a_warning(site: Path) -> None:
    assert (site / "index.html").is_file()
    assert (site / "reference/commands/export.html").is_file()
    assert "open_bundle" in (site / "reference/api/bundles.html").read_text()


@pytest.mark.slow
def test_a_page_asks_nobody_for_anything(site: Path) -> None:
    asked = re.compile(
        r"<(?:script|img|iframe|source)[^>]* src=\"(?:https?:)?//"
        r"|<link[^>]* href=\"(?:https?:)?//|url\([\"']?(?:https?:)?//|@import"
    )
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(files) > 80
    asking = {path.name: found[0] for path in files if (found := asked.search(path.read_text()))}
    assert asking == {}
