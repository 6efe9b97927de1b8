from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import pipeline.run_folder
from foundation.errors import BusyError, CorruptFileError, MissingFileError, RunMismatchError
from pipeline.recipe.file import load_recipe
from pipeline.recipe.sections.bench import BenchRecipe
from pipeline.recipe.sections.export import ExportRecipe
from pipeline.recipe.sections.gate import GateRecipe, Limit
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import RunFolder, open_run, start_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return start_run(tmp_path / "x", Recipe())


def make(run: RunFolder, **depends_on: Any) -> bool:
    """A step that writes two files; whether it had to."""
    with run.step("make", **depends_on) as step:
        if step.needed:
            (run.path / "sub").mkdir(exist_ok=True)
            step.products = [run.path / "a.txt", run.path / "sub/b.txt"]
            for product in step.products:
                product.write_text(str(depends_on))
        return step.needed


class TestAStep:
    def test_is_needed_once(self, run: RunFolder) -> None:
        assert make(run, lr=1)
        assert not make(run, lr=1)

    def test_is_needed_again_when_what_it_depends_on_changes(self, run: RunFolder) -> None:
        make(run, lr=1)
        assert make(run, lr=2)
        assert make(run, lr=2, epochs=3)

    @pytest.mark.parametrize("product", ["a.txt", "sub/b.txt"])
    def test_is_needed_again_when_a_product_is_gone(self, run: RunFolder, product: str) -> None:
        make(run)
        (run.path / product).unlink()
        assert make(run)
        assert not make(run)

    def test_refuses_a_product_that_was_changed_and_names_it(
        self, run: RunFolder, flip_a_byte: Callable[[Path], None]
    ) -> None:
        make(run)
        flip_a_byte(run.path / "sub/b.txt")
        with pytest.raises(CorruptFileError, match=r"sub/b\.txt: checksum differs"):
            make(run)

    def test_that_failed_is_not_done(self, run: RunFolder) -> None:
        with pytest.raises(KeyError), run.step("make"):
            raise KeyError
        assert "make" not in run.record()["steps"]

    def test_leaves_its_checksums_and_its_time_in_the_record(self, run: RunFolder) -> None:
        make(run, lr=1)
        step = run.record()["steps"]["make"]
        assert sorted(step["products"]) == ["a.txt", "sub/b.txt"]
        assert step["depends_on"] == {"lr": 1}
        assert step["seconds"] >= 0

    def test_does_not_disturb_another(self, run: RunFolder) -> None:
        make(run)
        with run.step("other"):
            pass
        assert set(run.record()["steps"]) == {"make", "other"}

    def test_tells_its_remarks_once_and_keeps_them(self, tmp_path: Path) -> None:
        said: list[str] = []
        for _ in range(2):
            run = start_run(tmp_path / "x", Recipe(), said.append)
            with run.step("look") as step:
                if step.needed:
                    step.remark("2 files left out")
        assert said == ["2 files left out"]
        assert run.remarks() == {"look": ["2 files left out"]}


class TestTheRecord:
    def test_says_how_the_run_was_made(self, tmp_path: Path) -> None:
        record = start_run(tmp_path / "x", Recipe(name="n", seed=5)).record()
        assert (record["name"], record["seed"], record["steps"]) == ("n", 5, {})
        for key in ("created_at", "python", "platform"):
            assert record[key]
        assert record["versions"]["torch"]
        assert record["versions"]["edge-compress"]
        assert "commit" in record

    def test_names_the_commit_of_the_code_where_there_is_one(self, run: RunFolder) -> None:
        in_checkout = (Path(pipeline.run_folder.__file__).parents[2] / ".git").exists()
        commit = run.record()["commit"]
        assert commit is None or len(commit.partition("-")[0]) == 40
        assert in_checkout or commit is None

    def test_can_be_made_without_git(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert start_run(tmp_path / "x", Recipe()).record()["commit"] is None

    def test_keeps_what_was_noted(self, run: RunFolder) -> None:
        run.note(a=1)
        run.note(b=2)
        assert (run.record()["a"], run.record()["b"]) == (1, 2)

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 99, "steps": {}}'])
    def test_that_is_none_is_refused_by_name(self, run: RunFolder, content: str) -> None:
        run.record_path.write_text(content)
        with pytest.raises(CorruptFileError, match=r"run\.json"):
            run.record()


class TestStarting:
    def test_writes_the_whole_recipe_down(self, run: RunFolder) -> None:
        assert run.recipe() == Recipe().spelled_out()
        weights = [stage.ce_weight for stage in run.recipe().stages]
        assert weights == [1.0, 0.1]  # of at and kd

    def test_goes_on_with_a_run_of_the_same_recipe(self, run: RunFolder) -> None:
        run.note(kept=True)
        assert start_run(run.path, Recipe()).record()["kept"]

    @pytest.mark.parametrize(
        "change",
        [
            {"export": ExportRecipe(targets=["rpi"])},
            {"bench": BenchRecipe(threads=3)},
            {"gate": GateRecipe(limits={"size_mb": Limit(max=1.0)})},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_takes_a_change_of_what_comes_after_the_training(
        self, run: RunFolder, change: dict[str, Any]
    ) -> None:
        run.note(kept=True)
        changed = Recipe(**change)
        assert start_run(run.path, changed).record()["kept"]
        assert run.recipe() == changed.spelled_out()

    @pytest.mark.parametrize(
        ("place", "value", "words"),
        [
            ("seed", 1, "seed is 0 there, 1 here"),
            ("data.image_size", 8, "data.image_size is unset there, 8 here"),
            ("data.augment.flip", True, "data.augment.flip is False there, True here"),
            ("teacher.model", "resnet32", "teacher.model is 'resnet20' there, 'resnet32' here"),
            ("teacher.training.lr", 0.5, "teacher.training.lr is 0.05 there, 0.5 here"),
            ("student.model", "resnet14", "student.model is 'resnet8' there, 'resnet14' here"),
            ("stages.1.epochs", 3, "stages[1].epochs is 20 there, 3 here"),
            ("stages.1.methods", "rkd", "stages[1].methods[0].name is 'kd' there, 'rkd' here"),
            ("stages", [{"methods": "kd"}], "stages is a list of 2 there, a list of 1 here"),
            ("engine.precision", "bf16", "engine.precision is 'fp32' there, 'bf16' here"),
        ],
    )
    def test_refuses_a_change_of_the_training_and_names_the_first_difference(
        self, run: RunFolder, place: str, value: Any, words: str
    ) -> None:
        before = run.recipe_path.read_bytes()
        with pytest.raises(RunMismatchError) as refused:
            start_run(run.path, load_recipe(None, {place: value}).recipe)
        assert words in str(refused.value)
        assert run.recipe_path.read_bytes() == before

    def test_weights_that_were_left_out_are_those_that_were_spelled_out(
        self, tmp_path: Path
    ) -> None:
        left_out = {"stages": [{"methods": "at"}]}
        given = {"stages": [{"methods": [{"name": "at", "weight": 1000.0}], "ce_weight": 1.0}]}
        start_run(tmp_path / "x", load_recipe(None, left_out).recipe)
        start_run(tmp_path / "x", load_recipe(None, given).recipe)
        given["stages"][0]["ce_weight"] = 0.5
        with pytest.raises(RunMismatchError, match=r"stages\[0\].ce_weight is 1.0 there, 0.5 here"):
            start_run(tmp_path / "x", load_recipe(None, given).recipe)

    def test_leaves_a_run_alone_in_which_another_process_works(self, run: RunFolder) -> None:
        before = run.recipe_path.read_bytes()
        with FileLock(run.path / ".lock"), pytest.raises(BusyError, match="another process"):
            start_run(run.path, Recipe(bench=BenchRecipe(threads=3)))
        assert run.recipe_path.read_bytes() == before


class TestOpening:
    def test_without_a_name_takes_the_run_used_last(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        old, new = (start_run(Path("runs") / name, Recipe()) for name in ("old", "new"))

        def last_used_long_ago(run: RunFolder, ago: int) -> None:
            os.utime(run.record_path, (1e9 - ago, 1e9 - ago))

        last_used_long_ago(old, 100)
        last_used_long_ago(new, 50)
        assert open_run(None) == new
        last_used_long_ago(new, 50)
        open_run(old.path)
        assert open_run(None) == old
        last_used_long_ago(new, 200)
        last_used_long_ago(old, 100)
        start_run(new.path, Recipe())
        assert open_run(None) == new

    def test_without_any_run_tells_how_to_make_one(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(MissingFileError, match="compress run"):
            open_run(None)

    def test_a_folder_that_is_no_run_is_refused_by_name(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match=f"{tmp_path.name}: not a run folder"):
            open_run(tmp_path)


class TestTheLock:
    def test_keeps_others_out_and_is_given_back(self, run: RunFolder) -> None:
        with run.locked(), pytest.raises(BusyError), RunFolder(run.path).locked():
            pass
        with run.locked():
            pass


def test_a_run_of_another_version_is_told_apart_and_what_to_do(tmp_path: Path) -> None:
    run = start_run(tmp_path / "run", Recipe())
    run.recipe_path.write_text(run.recipe_path.read_text() + "\n[telepathy]\nrange = 3\n")
    with pytest.raises(
        RunMismatchError, match=r"recipe\.toml line \d+, telepathy.*another version"
    ):
        start_run(tmp_path / "run", Recipe())


def test_a_recipe_that_was_cut_off_between_two_lines_does_not_pass_for_the_defaults(
    run: RunFolder,
) -> None:
    whole = run.recipe_path.read_text()
    for text in ("", whole[: whole.index("\n[bench]") + 1]):
        run.recipe_path.write_text(text)
        with pytest.raises(CorruptFileError, match=r"recipe\.toml: not the whole recipe.*bench"):
            run.recipe()


def test_a_recipe_that_lacks_what_came_with_a_later_release_has_its_defaults(
    run: RunFolder,
) -> None:
    asked, whole = run.recipe(), run.recipe_path.read_text()
    start, end = whole.index("\n[export]"), whole.index("\n[bench]")
    run.recipe_path.write_text(whole[:start] + whole[end:])
    assert run.recipe() == asked


class TestLeftovers:
    """What a killed process left half-made in a run folder."""

    @pytest.fixture
    def left(self, run: RunFolder) -> list[Path]:
        for folder in (".export.tmp", ".a.tmp", ".a.old", ".b.old", "a"):
            (run.bundles / folder).mkdir(parents=True)
        for folder in ("scratch", "onnx-int8", "failed"):
            (run.trials / folder).mkdir(parents=True)
        files = [run.data / ".test.npz.k3x_9a0b.tmp", run.path / ".run.json.aaaaaaaa.tmp"]
        for path in files:
            path.parent.mkdir(exist_ok=True)
            path.write_text("half")
        return [
            *files,
            *(run.bundles / name for name in (".export.tmp", ".a.tmp", ".a.old")),
            *(run.trials / name for name in ("scratch", "onnx-int8")),
        ]

    def test_goes_with_the_next_that_works_there(self, run: RunFolder, left: list[Path]) -> None:
        with run.locked():
            assert not [path for path in left if path.exists()]
        assert {path.name for path in run.bundles.iterdir()} == {"a", ".b.old"}
        assert {path.name for path in run.trials.iterdir()} == {"failed"}

    def test_stays_while_another_is_at_work(self, run: RunFolder, left: list[Path]) -> None:
        with FileLock(run.path / ".lock"), pytest.raises(BusyError), run.locked():
            pass
        assert all(path.exists() for path in left)
