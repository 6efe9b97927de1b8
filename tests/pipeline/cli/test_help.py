from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from deploy_targets.targets import target_names
from foundation.errors import CompressError, RecipeError, UnknownNameError
from pipeline.cli import COMMANDS, app
from pipeline.cli._app import EXIT_CODES
from pipeline.cli._options import recipe_changes, with_recipe
from pipeline.data import DATASETS
from pipeline.gating.metrics import METRICS
from pipeline.models import MODELS
from pipeline.recipe.file import load_recipe
from pipeline.recipe.keys import keys_of
from smskd.methods import METHODS

# These say which run, which of its bundles, and how to show the result: nothing of the recipe.
NOT_IN_A_RECIPE = {
    "recipe", "run", "set", "json", "bundle", "fleet", "measured", "format", "trust_code",
    "verbose", "quiet", "log_file", "traceback", "history", "submit", "front", "pick",
}  # fmt: skip


# Keys of a command's own section that have no option, and why.
KEYS_WITHOUT_OPTION = {"gate.limits": "a table of tables: it is what a budget file is for"}


def parameters_of(command: str) -> list[Any]:
    found = get_command(app).commands[command]  # type: ignore[attr-defined]
    return [one for one in found.get_params(typer.Context(found)) if one.name != "help"]


def help_of(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    return result.output


def test_every_command_is_listed(compress, tmp_path: Path) -> None:
    said = compress("--help", cwd=tmp_path)
    assert said.code == 0
    registered = {command.callback.__name__ for command in app.registered_commands}
    registered |= {group.typer_instance.info.name for group in app.registered_groups}
    assert registered == set(COMMANDS)
    for name in registered:
        assert re.search(rf"^\W*{name}\b.*\w{{3}}", said.out, re.MULTILINE), name


def test_no_arguments_show_the_help(compress, tmp_path: Path) -> None:
    said = compress(cwd=tmp_path)
    assert "Usage: compress" in said.out + said.err
    assert said.code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does_and_gives_an_example(command: str) -> None:
    text = help_of(command)
    assert re.search(rf"Examples?:.*compress {command}", text, re.DOTALL), text


def test_the_gate_names_every_metric() -> None:
    assert set(METRICS) <= set(re.findall(r"\w+", help_of("gate")))


def test_every_exit_code_is_explained_and_every_explained_code_exists() -> None:
    explained = [int(code) for code in re.findall(r"(?:^|:|·|\n)\s*(\d+) ", EXIT_CODES)]
    kinds = [CompressError, *CompressError.__subclasses__()]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert sorted(explained) == sorted([0, 1, 3, 130, *codes])


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (name, parameter.name)
        for name in ("distill", "teach", "export", "bench", "gate")
        for parameter in parameters_of(name)
        if parameter.name not in NOT_IN_A_RECIPE and parameter.name not in {"help", "budget"}
    ],
)
def test_every_option_names_its_place_in_the_recipe(command: str, option: str) -> None:
    (words,) = (one.help for one in parameters_of(command) if one.name == option)
    named = re.search(r"\(([\w.]+)[),:]", words)
    assert named, words
    key = named[1].replace(".N.", ".0.")
    assert is_a_key(key), key


@pytest.mark.parametrize("section", ["export", "bench", "gate"])
def test_every_key_of_these_sections_has_an_option(section: str) -> None:
    parameters = parameters_of(section)
    named = {key for one in parameters for key in re.findall(r"\(([\w.]+)[),:]", one.help or "")}
    keys = {key.place for key in keys_of(section)}
    assert len(keys) > 3
    assert keys - named == {key for key in KEYS_WITHOUT_OPTION if key.startswith(f"{section}.")}


@pytest.mark.parametrize("section", ["export", "bench", "gate", "study", "search"])
def test_the_recipe_explains_every_key_in_a_line(section: str) -> None:
    unexplained = [key.place for key in keys_of(section) if not key.words]
    assert unexplained == []


def test_what_was_given_is_told_from_what_was_left_out() -> None:
    """A value that is the default too was given all the same, and "no" is an answer."""
    found: list[dict[str, object]] = []
    taker = typer.Typer()

    @taker.command(cls=with_recipe(section="bench"))
    def bench(ctx: typer.Context, host: str | None = None) -> None:
        found.append({**recipe_changes(ctx), "own": host})

    words = ["--queries", "1000", "--no-accuracy", "--percentile", "50", "--percentile", "99.9"]
    assert CliRunner().invoke(taker, [*words, "--host", "local"]).exit_code == 0
    assert found == [
        {
            "bench.queries": 1000,
            "bench.accuracy": False,
            "bench.percentiles": [50.0, 99.9],
            "own": "local",
        }
    ]
    assert CliRunner().invoke(taker, []).exit_code == 0
    assert found[1] == {"own": None}
    assert CliRunner().invoke(taker, ["--queries", "many"]).exit_code == 2
    assert CliRunner().invoke(taker, ["--quries", "5"]).exit_code == 2


def is_a_key(key: str) -> bool:
    """Whether a recipe takes the key: a value that fits nowhere is then refused by its type."""
    with pytest.raises(RecipeError) as refused:
        load_recipe(None, {key: {"no": "value"}})
    return f"unknown key {key.rpartition('.')[2]!r}" not in str(refused.value)


def test_the_check_of_a_key_would_see_a_wrong_one() -> None:
    assert is_a_key("teacher.model")
    assert not is_a_key("teacher.modle")


@pytest.mark.parametrize("command", ["methods", "models", "datasets", "targets"])
def test_what_is_listed_is_json_on_request_and_a_table_otherwise(command: str) -> None:
    listed = json.loads(CliRunner().invoke(app, [command, "--json"]).output)[command]
    shown = CliRunner().invoke(app, [command]).output
    assert all(one["name"] in shown for one in listed)
    registries = {"methods": METHODS, "models": MODELS, "datasets": DATASETS}
    known = registries[command].names() if command in registries else target_names()
    assert all(name in shown for name in known)


@pytest.mark.parametrize(
    ("pattern", "there", "not_there"),
    [
        ("wrn-*-2", "wrn-40-2", "wrn-40-1"),
        ("resnet8", "resnet8", "resnet8x4"),
        ("torchvision/", "torchvision/vit_b_16", "resnet8"),
        ("torchvision/*shuffle*", "torchvision/shufflenet_v2_x1_0", "torchvision/resnet18"),
        ("torchvision/resnet18", "torchvision/resnet18", "torchvision/resnet34"),
    ],
)
def test_models_are_listed_by_a_pattern(pattern: str, there: str, not_there: str) -> None:
    listed = json.loads(CliRunner().invoke(app, ["models", pattern, "--json"]).output)["models"]
    names = {one["name"] for one in listed}
    assert there in names
    assert not_there not in names
    shown = CliRunner().invoke(app, ["models", pattern]).output
    assert all(name in shown for name in names)


def test_a_librarys_models_are_listed_with_their_pretrained_weights() -> None:
    said = CliRunner().invoke(app, ["models", "torchvision/resnet18", "--json"]).output
    (listed,) = json.loads(said)["models"]
    assert listed["weights"] == ["DEFAULT", "IMAGENET1K_V1"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("resnet9", "did you mean 'resnet8'"),
        ("torchvision/resnet19", "did you mean 'torchvision/resnet18'"),
        ("torchvison/", "did you mean 'torchvision'"),
        ("torchvision/*nothing*", "unknown model 'torchvision/*nothing*'"),
    ],
)
def test_models_that_there_are_none_of_are_told(pattern: str, words: str) -> None:
    refused = CliRunner().invoke(app, ["models", pattern]).exception
    assert isinstance(refused, UnknownNameError)
    assert words in str(refused)


@pytest.mark.parametrize(("command", "name"), [("methods", "rkd"), ("targets", "rpi4")])
def test_one_entry_is_shown_whole(command: str, name: str) -> None:
    shown = CliRunner().invoke(app, [command, name])
    assert shown.exit_code == 0
    assert name in shown.output


def test_the_doctor_finds_everything_that_is_needed_here(compress, tmp_path: Path) -> None:
    said = compress("doctor", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    found = {one["what"]: one["state"] for one in said.json()["findings"]}
    assert {found[name] for name in ("torch", "onnxruntime", "openvino", "nncf")} == {"ok"}
    assert said.json()["facts"]["arch"]
