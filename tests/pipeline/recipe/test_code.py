from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import RunMismatchError
from pipeline.recipe.code import code_identity, code_of, source_file
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import start_run

FACTORY = '''\
from pipeline.models import build_model

def net(num_classes, in_channels):
    """A network."""
    return build_model("resnet8", num_classes, in_channels)
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_own_nets.py"
    path.write_text(FACTORY)
    return path


def recipe(role: str = "student") -> Recipe:
    return load_recipe(None, {f"{role}.model": "my_own_nets:net"}).recipe


def test_a_module_is_found_without_being_imported(module: Path) -> None:
    module.write_text("raise SystemExit")
    assert source_file("my_own_nets") == module.resolve()
    assert source_file("my_own_nets.inner") is None
    assert source_file("no_such_module_of_mine") is None


def test_what_a_module_says_counts_and_not_how_it_is_set(module: Path) -> None:
    before = code_identity("my_own_nets:net")
    assert before is not None
    module.write_text("# mine\n\n" + FACTORY.replace("    ", "  "))
    assert code_identity("my_own_nets:net") == before
    module.write_text(FACTORY.replace("resnet8", "resnet14"))
    assert code_identity("my_own_nets:net") not in (None, before)
    module.write_text("not python at all")
    assert code_identity("my_own_nets:net") not in (None, before)


def test_registered_models_have_no_code_of_the_users() -> None:
    assert code_of(Recipe()) == {}
    assert code_identity("resnet8") is None
    assert code_identity("timm/resnet18") is None


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_run_that_has_learned_is_not_gone_on_with_by_other_code(
    role: str, module: Path, tmp_path: Path
) -> None:
    start_run(tmp_path / "x", recipe(role))
    module.write_text(FACTORY.replace("resnet8", "resnet14"))
    run = start_run(tmp_path / "x", recipe(role))  # nothing has learned yet
    run.stages.mkdir()
    start_run(tmp_path / "x", recipe(role))
    module.write_text(FACTORY)
    words = rf"x: the code of {role}.model = 'my_own_nets:net' changed since \(.*my_own_nets.py\)"
    with pytest.raises(RunMismatchError, match=words):
        start_run(tmp_path / "x", recipe(role))
    module.unlink()  # what needs it will say so
    start_run(tmp_path / "x", recipe(role))
