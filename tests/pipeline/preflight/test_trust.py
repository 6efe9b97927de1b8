"""A recipe that names module:function is code, and is asked about before it is imported."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from foundation.errors import UntrustedCodeError
from pipeline.preflight import trust
from pipeline.preflight.trust import STATE, VARIABLE, check_code, check_scheduler
from pipeline.recipe.file import load_recipe


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a recipe that names code which leaves a mark when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(STATE, str(tmp_path / "state"))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("open('ran', 'w')\n")
    (package / "evil.py").write_text("open('ran', 'w')\n")
    (tmp_path / "recipe.toml").write_text('[student]\nmodel = "package.evil:factory"\n')
    return tmp_path


def checked(overrides: dict[str, object] | None = None, run: str = "runs/x") -> list[str]:
    lines: list[str] = []
    check_code(load_recipe(Path("recipe.toml"), overrides), Path(run), lines.append)
    return lines


def test_code_in_a_file_is_not_imported_before_somebody_said_yes(here: Path) -> None:
    with pytest.raises(UntrustedCodeError) as refused:
        checked()
    assert str(refused.value) == (
        "recipe.toml line 2, student.model: this recipe runs code of package.evil:factory "
        f"({here / 'package/evil.py'}), which can do all that you can; read it, then say "
        "--trust-code (or COMPRESS_TRUST_CODE=1), or name it on the command line yourself"
    )
    assert refused.value.exit_code == 24
    assert not (here / "ran").exists()


def test_what_is_typed_is_the_users_own_word_and_is_told(here: Path) -> None:
    lines = checked({"student.model": "package.evil:factory"})
    assert lines == [
        f"command line, student.model: imports package.evil:factory from {here / 'package/evil.py'}"
    ]
    assert not (here / "ran").exists()


@pytest.mark.parametrize(
    "name", ["sys:exit", "http.server:test", "no.such.module:f", ":f", "a..b:f"]
)
def test_modules_of_python_and_none_at_all_are_asked_about_too(here: Path, name: str) -> None:
    (here / "recipe.toml").write_text(f'[teacher]\nmodel = "{name}"\n')
    with pytest.raises(UntrustedCodeError, match=name):
        checked()


def test_a_yes_is_remembered_for_the_run_folder_and_the_files_bytes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert len(checked()) == 1
    monkeypatch.delenv(VARIABLE)
    checked()
    with pytest.raises(UntrustedCodeError):
        checked(run="runs/another")
    with (here / "package/evil.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(UntrustedCodeError):
        checked()


def test_what_was_typed_for_a_run_is_trusted_when_it_goes_on(here: Path) -> None:
    checked({"student.model": "package.evil:factory"})
    assert len(checked()) == 1


def test_an_answer_that_lies_in_the_run_folder_is_none(here: Path) -> None:
    checked({"student.model": "package.evil:factory"})
    (here / "runs/x").mkdir(parents=True)
    for file in (here / "state").iterdir():
        (here / "runs/x" / file.name).write_bytes(file.read_bytes())
        file.write_text("no json")
    with pytest.raises(UntrustedCodeError):
        checked()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "runs"), [("y\n", True), ("YES\n", True), ("\n", False), ("", False)]
)
def test_on_a_terminal_it_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, answer: str, runs: bool
) -> None:
    shown = Terminal()
    monkeypatch.setattr(trust.sys, "stdin", Terminal(answer))
    monkeypatch.setattr(trust.sys, "stderr", shown)
    if not runs:
        with pytest.raises(UntrustedCodeError, match="not run, as you said"):
            checked()
        return
    checked()
    assert "this recipe runs code of package.evil:factory" in shown.getvalue()
    shown.truncate(0)
    checked()
    assert "Run it?" not in shown.getvalue()


def test_where_nothing_can_be_kept_it_is_asked_each_time(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATE, str(here / "recipe.toml/state"))
    checked({"student.model": "package.evil:factory"})
    with pytest.raises(UntrustedCodeError):
        checked()


def test_networks_by_name_are_no_code(here: Path) -> None:
    (here / "recipe.toml").write_text('[student]\nmodel = "torchvision/resnet18"\n')
    assert checked() == []


def test_a_scheduler_in_a_file_is_not_asked_before_somebody_said_yes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = here / "recipe.toml"
    recipe.write_text('[study]\nscheduler = "tcp://there:8786"\n')
    with pytest.raises(UntrustedCodeError) as refused:
        check_scheduler(load_recipe(recipe))
    assert str(refused.value).startswith(
        f"{recipe} line 2, study.scheduler: whoever has the scheduler tcp://there:8786 can run code"
    )
    check_scheduler(load_recipe(recipe, {"study.scheduler": "tcp://mine:8786"}))
    recipe.write_text("[study]\nseeds = 1\n")
    check_scheduler(load_recipe(recipe))
    recipe.write_text('[study]\nscheduler = "tcp://there:8786"\n')
    monkeypatch.setenv(VARIABLE, "1")
    check_scheduler(load_recipe(recipe))
