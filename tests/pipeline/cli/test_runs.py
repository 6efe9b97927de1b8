"""compress runs: what lies under runs/, and that nothing but a run is ever removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.run_folder.folder import RunFolder


@pytest.fixture
def two(own: RunFolder, tmp_path: Path) -> Path:
    """A folder with two runs in runs/, of other seeds in their records, and a study."""
    other = RunFolder(Path(shutil.copytree(own.path, tmp_path / "runs/other")))
    text = other.recipe_path.read_text().replace("\nseed = 0\n", "\nseed = 7\n", 1)
    other.recipe_path.write_text(text)
    other.note(name="other", seed=7, created_at="2031-01-01T00:00:00+00:00")
    return tmp_path


def test_runs_are_listed_with_what_they_came_to_the_last_one_at_the_end(two: Path, forked) -> None:
    said = forked("runs", "list", "--json", cwd=two)
    assert said.code == 0, said.err
    first, last = said.json()["runs"]
    assert (first["name"], last["name"]) == ("tiny", "other")
    networks = json.loads((two / "runs/tiny/run.json").read_text())["networks"]
    assert first["student_top1"] == networks["student"]["test"]["top1"]
    assert (first["student"], first["verdict"]) == (networks["student"]["model"], "pass")
    files = [path for path in (two / "runs/tiny").rglob("*") if path.is_file()]
    assert first["bytes"] == sum(path.stat().st_size for path in files)
    assert first["bundles"] == len(list((two / "runs/tiny/bundles").iterdir()))
    table = forked("runs", "list", cwd=two).out
    assert "tiny" in table
    assert "other" in table


def test_one_that_is_damaged_is_listed_with_its_trouble(two: Path, forked) -> None:
    (two / "runs/other/run.json").write_text("{")
    *_, damaged = sorted(forked("runs", "list", "--json", cwd=two).json()["runs"],
                         key=lambda run: run["problem"] or "")  # fmt: skip
    assert damaged["path"] == "runs/other"
    assert "run.json" in damaged["problem"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"teachers": 3}', "nonsense"])
def test_a_study_that_is_damaged_is_listed_with_its_trouble(
    tmp_path: Path, forked, text: str
) -> None:
    (tmp_path / "runs/odd [bold]").mkdir(parents=True)
    (tmp_path / "runs/odd [bold]/study.json").write_text(text)
    (found,) = forked("runs", "list", "--json", cwd=tmp_path).json()["runs"]
    assert (found["kind"], "study.json" in found["problem"]) == ("study", True)
    assert forked("runs", "list", cwd=tmp_path).code == 0


def test_one_run_alone_is_compared_with_nothing(two: Path, forked) -> None:
    said = forked("runs", "compare", "runs/tiny", cwd=two)
    assert (said.code, "with which other run" in said.complaint) == (2, True)


def test_names_that_a_terminal_would_obey_are_shown_as_they_are(two: Path, forked) -> None:
    (two / "runs/other").rename(two / "runs/[red] odd")
    said = forked("runs", "compare", "runs/tiny", "runs/[red] odd", cwd=two)
    assert said.code == 0, said.err
    assert "[red] odd" in said.out
    assert forked("runs", "tag", "runs/[red] odd", "x", cwd=two).code == 0


def test_a_folder_without_runs_is_told(tmp_path: Path, forked) -> None:
    assert forked("runs", "list", cwd=tmp_path).code == 10
    (tmp_path / "runs").mkdir()
    said = forked("runs", "list", cwd=tmp_path)
    assert (said.code, "none here" in said.out) == (0, True)


def test_tags_are_given_found_and_taken_away(two: Path, forked) -> None:
    assert forked("runs", "tag", "runs/tiny", "v1.2", "shipped", cwd=two).code == 0
    (found,) = forked("runs", "list", "--tag", "v1.2", "--json", cwd=two).json()["runs"]
    assert (found["name"], found["tags"]) == ("tiny", ["v1.2", "shipped"])
    assert forked("runs", "tag", "runs/tiny", "v1.2", "--remove", cwd=two).code == 0
    assert forked("runs", "list", "--tag", "v1.2", "--json", cwd=two).json()["runs"] == []
    refused = forked("runs", "tag", "runs/tiny", "two words", cwd=two)
    assert (refused.code, "write a word" in refused.complaint) == (2, True)


def test_a_tag_changes_nothing_that_a_run_depends_on(two: Path, compress) -> None:
    compress("runs", "tag", "runs/tiny", "kept", cwd=two)
    again = compress("run", "tiny.toml", "--json", cwd=two)
    assert again.code == 0, again.err
    assert json.loads((two / "runs/tiny/run.json").read_text())["tags"] == ["kept"]


def test_a_run_is_shown_with_its_steps_and_its_report(two: Path, forked) -> None:
    said = forked("runs", "show", "runs/tiny", cwd=two)
    assert said.code == 0, said.err
    for words in ("teacher → student", "Steps", "Step by step"):
        assert words in said.out


def test_what_differs_between_runs_comes_first(two: Path, forked) -> None:
    said = forked("runs", "compare", "runs/tiny", "runs/other", "--json", cwd=two)
    facts = said.json()["facts"]
    differing = [(fact["fact"], fact["values"]) for fact in facts if fact["differs"]]
    assert differing == [("seed", [0, 7])]
    assert facts[0]["differs"]
    table = forked("runs", "compare", "runs/tiny", "runs/other", cwd=two).out
    assert "seed" in table
    assert "student.model" not in table
    assert (
        "student.model"
        in forked("runs", "compare", "runs/tiny", "runs/other", "--all", cwd=two).out
    )


class TestRemoving:
    def test_a_run_is_gone_after_a_yes_and_no_other(self, two: Path, forked) -> None:
        asked = forked("runs", "remove", "runs/other", cwd=two)
        assert (asked.code, "nobody is here to ask" in asked.complaint) == (2, True)
        assert (two / "runs/other/run.json").exists()
        said = forked("runs", "remove", "runs/other", "--yes", cwd=two)
        assert said.code == 0, said.err
        assert [path.name for path in (two / "runs").iterdir()] == ["tiny"]

    def test_what_no_command_made_is_not_taken_with_it(self, two: Path, forked) -> None:
        (two / "runs/other/notes.txt").write_text("mine")
        said = forked("runs", "remove", "runs/other", "--yes", cwd=two)
        assert (said.code, "notes.txt" in said.complaint) == (2, True)
        assert (two / "runs/other/run.json").exists()

    def test_a_link_is_refused_and_links_inside_are_not_followed(self, two: Path, forked) -> None:
        (two / "link").symlink_to(two / "runs/other")
        assert forked("runs", "remove", "link", "--yes", cwd=two).code == 2
        kept = two / "kept"
        kept.mkdir()
        (kept / "precious").write_text("mine")
        shutil.rmtree(two / "runs/other/bench")
        (two / "runs/other/bench").symlink_to(kept)
        forked("runs", "remove", "runs/other", "--yes", cwd=two)
        assert (kept / "precious").read_text() == "mine"

    def test_another_folder_is_no_run(self, two: Path, forked) -> None:
        (two / "photos").mkdir()
        assert forked("runs", "remove", "photos", "--yes", cwd=two).code == 10
        assert (two / "photos").is_dir()
