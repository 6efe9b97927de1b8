from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import MissingFileError, RecipeError
from pipeline.recipe.by_name import shipped_names, shipped_recipe
from pipeline.recipe.file import dump_recipe, load_recipe, parse_override, recipe_values
from pipeline.recipe.sections.recipe import Recipe
from pipeline.recipe.sections.training import MethodRecipe

FULL = """\
name = "full"
seed = 7

[data]
name = "folder:photos"
image_size = 24
student_fraction = 0.5
on_bad_image = "skip"
augment = { shift = 2, flip = true, rotate = 9.5 }

[teacher]
model = "torchvision.models:resnet18"
weights = "teacher.pt"

[[stages]]
methods = ["kd", { name = "at", weight = 500.0, settings = { power = 2.0 } }]
optimizer = "adamw"
max_grad_norm = 5.0
keep = "best"

[[stages]]
[[stages.methods]]
name = "rkd"
weight = 0.5

[engine]
accelerator = "cpu"
precision = "bf16"

[export]
targets = ["local", "rpi"]
formats = ["onnx"]
precisions = ["int8"]
teacher = false

[bench]
threads = 2
precision_hint = "auto"

[gate]
bundles = ["local-onnx-int8"]

[gate.limits]
latency_p95_ms = { max = 50.0 }
top1_percent = { min = 85.0, max = 100.0 }
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "x.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("text", ["", FULL], ids=["defaults", "everything set"])
def test_a_dumped_recipe_is_read_back_as_the_equal_recipe(written, tmp_path: Path, text) -> None:
    recipe = load_recipe(written(text)).recipe
    again = tmp_path / "again.toml"
    again.write_text(dump_recipe(recipe))
    assert load_recipe(again).recipe == recipe


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_is_read_and_round_trips(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(Path(shipped_recipe(name).path)).recipe
    (tmp_path / "again.toml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "again.toml").recipe == recipe


def test_a_dumped_recipe_spells_the_defaults_out(tmp_path: Path) -> None:
    dumped = dump_recipe(Recipe())
    for line in ("val_fraction = 0.1", "reference_weight = 0.1", "queries = 1000"):
        assert line in dumped


class TestKeysThatCameLater:
    """What was begun before them is told from other work by its values, and is gone on with."""

    def test_are_not_written_down_where_they_say_nothing(self) -> None:
        values = recipe_values(load_recipe(None).recipe.spelled_out())
        assert sorted(values) == [
            "bench", "data", "engine", "export", "gate", "name", "seed", "stages", "student",
            "study", "teacher",
        ]  # fmt: skip
        assert "unlabelled" not in values["data"]
        for stage in (values["teacher"]["training"], *values["stages"]):
            assert stage.keys() <= {
                "accumulate", "carry", "ce_weight", "ema_batch_norm", "epochs", "hold_epochs",
                "keep", "label_loss", "label_smoothing", "lr", "methods", "momentum",
                "normalise_weighting", "optimizer", "quantize", "reference_feature_weight",
                "reference_methods", "reference_temperature", "reference_weight", "schedule",
                "step_epochs", "warmup_epochs", "weight_decay", "weighting",
            }  # fmt: skip

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            ("teacher_mix", "entropy"), ("data.unlabelled_from", "folder:x"),
            ("stages.0.label_correction", 0.5), ("teacher.training.patience", 3),
        ],
    )  # fmt: skip
    def test_are_written_down_where_they_say_something(self, place, value, tmp_path: Path) -> None:
        teachers = [{"name": name, "model": f"{name}.onnx"} for name in "ab"]
        more = {"teachers": teachers} if place == "teacher_mix" else {}
        recipe = load_recipe(None, {place: value, **more}).recipe
        (tmp_path / "x.toml").write_text(dump_recipe(recipe))
        assert load_recipe(tmp_path / "x.toml").recipe == recipe

    def test_of_a_fine_tuning_are_written_down_for_their_defaults_are_others(
        self, tmp_path: Path
    ) -> None:
        said = {"teacher.training.weights": "timm:pretrained", "teacher.training.patience": 0}
        recipe = load_recipe(None, said).recipe
        (tmp_path / "x.toml").write_text(dump_recipe(recipe))
        assert load_recipe(tmp_path / "x.toml").recipe.teacher.training.patience == 0


def test_a_recipe_without_a_name_is_called_like_its_file(written) -> None:
    assert load_recipe(written("seed = 1")).recipe.name == "x"


def test_methods_may_be_a_name_or_a_list_of_names_and_tables(written) -> None:
    stages = load_recipe(
        written('[[stages]]\nmethods = "kd"\n[[stages]]\nmethods = ["at", { name = "rkd" }]')
    ).recipe.stages
    assert stages[0].methods == (MethodRecipe("kd"),)
    assert [method.name for method in stages[1].methods] == ["at", "rkd"]


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("sed = 1", "x.toml line 1, sed", "did you mean 'seed'?"),
        ("[data]\n\nimage_sise = 8", "x.toml line 3, data.image_sise", "'image_size'"),
        ("[data]\naugment = { flop = true }", "line 2, data.augment.flop", "'flip'"),
        ("[data.augment]\nflop = true", "line 2, data.augment.flop", "'flip'"),
        ("data.augment.flop = true", "line 1, data.augment.flop", "'flip'"),
        ("[teacher.training]\nepoch = 3", "line 2, teacher.training.epoch", "'epochs'"),
        (
            "[[stages]]\nepochs = 1\n[[stages]]\nepoch = 2",
            "line 4, stages[1].epoch",
            "'epochs'",
        ),
        (
            '[[stages]]\n[[stages.methods]]\nname = "kd"\n'
            '[[stages]]\n[[stages.methods]]\nname = "at"\n'
            '[[stages.methods]]\nname = "kd"\nwait = 2.0',
            "line 9, stages[1].methods[1].wait",
            "'weight'",
        ),
        ("[gate.limits.size_mb]\nmaks = 1.0", "line 2, gate.limits.size_mb.maks", "'max'"),
        ("[bench]\nzzz = 1", "line 2, bench.zzz", "known here: host, threads"),
    ],
)
def test_a_misspelt_key_is_told_with_its_line_and_the_nearest_key(
    written, text: str, where: str, hint: str
) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(written(text))
    assert where in str(refused.value)
    assert hint in str(refused.value)


def test_a_wrong_value_is_told_with_its_line_and_quoted(written) -> None:
    with pytest.raises(RecipeError, match=r"line 2, data\.batch_size: .*but got 'many'"):
        load_recipe(written('[data]\nbatch_size = "many"'))


def test_a_value_from_the_command_line_is_not_blamed_on_the_file(written) -> None:
    path = written("[data]\nbatch_size = 64\nimage_size = 8")
    with pytest.raises(RecipeError, match=r"^command line, data\.batch_size"):
        load_recipe(path, {"data.batch_size": 0})
    file = load_recipe(path, {"data.batch_size": 32})
    assert file.where("data", "batch_size") == "command line, data.batch_size"
    assert file.where("data", "image_size") == f"{path} line 3, data.image_size"


def test_further_errors_are_counted(written) -> None:
    with pytest.raises(RecipeError, match=r"\(and 2 more\)$"):
        load_recipe(written("sed = 1\n[data]\nbatch_size = 0\n[bench]\nqueries = 0"))
    with pytest.raises(RecipeError) as refused:
        load_recipe(written("sed = 1"))
    assert "more)" not in str(refused.value)


@pytest.mark.parametrize("content", [b"seed = = 1", b"seed = 1\nseed = 2", b'name = "\xff"'])
def test_what_is_not_toml_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"x\.toml: not valid TOML"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("seed = 1".encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
        ("seed = 1\nname = 'käse'".encode("latin-1"), "byte 0xE4 in line 2 is not UTF-8"),
        (b"seed = " + b"[" * 1000, "nested more than 64 deep"),
        (b"seed = " + b"9" * 5000, "digits"),
        (b"seed = 1\0", "line 1"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_to_do(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=words):
        load_recipe(tmp_path / "x.toml")


def test_a_byte_order_mark_and_other_line_ends_are_no_matter(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbfseed = 3\r\n[data]\r\nbatch_size = 7\r\n")
    recipe = load_recipe(tmp_path / "x.toml").recipe
    assert (recipe.seed, recipe.data.batch_size) == (3, 7)


@pytest.mark.parametrize(
    "text", ["stages.².epochs=1", "stages..epochs=1", ".=1", "data.=1", "'data'.x=1", "=1", "x"]
)
def test_a_key_of_an_override_is_written_plainly(text: str) -> None:
    with pytest.raises(RecipeError, match="write it as KEY=VALUE"):
        parse_override(text)


def test_a_value_that_is_very_long_is_not_quoted_whole(written) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(written(f'name = "{"/" * 5000}"'))
    assert len(str(refused.value)) < 400


def test_a_missing_recipe_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nope\.toml: no such recipe"):
        load_recipe(tmp_path / "nope.toml")


class TestOverrides:
    def test_reach_into_the_default_stages(self) -> None:
        stages = load_recipe(None, {"stages.0.epochs": 5}).recipe.stages
        assert [stage.name for stage in stages] == ["fitnet", "kd"]
        assert [stage.epochs for stage in stages] == [5, 20]

    def test_reach_into_the_stages_of_a_file(self, written) -> None:
        path = written('[[stages]]\nmethods = "rkd"\nepochs = 3')
        stages = load_recipe(path, {"stages.0.lr": 0.5}).recipe.stages
        assert [(stage.name, stage.epochs, stage.lr) for stage in stages] == [("rkd", 3, 0.5)]

    def test_reach_into_methods_that_are_written_short(self, written) -> None:
        path = written('[[stages]]\nmethods = "rkd"')
        recipe = load_recipe(path, {"stages.0.methods.0.weight": 3.0}).recipe
        assert recipe.stages[0].methods == (MethodRecipe("rkd", 3.0),)

    def test_make_tables_that_the_file_lacks(self) -> None:
        recipe = load_recipe(None, {"gate.limits.size_mb.max": 2.0}).recipe
        assert recipe.gate.limits["size_mb"].max == 2.0

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            ("stages.3.epochs", "'3' is not one of 0..1"),
            ("stages.last.epochs", "'last' is not one of 0..1"),
            ("stages.0.epochs.x", "'epochs' is a value, not a table"),
        ],
    )
    def test_to_a_place_that_is_not_there_are_refused(self, place: str, words: str) -> None:
        with pytest.raises(RecipeError, match=words):
            load_recipe(None, {place: 1})

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("seed=3", ("seed", 3)),
            ("stages.0.lr=1e-2", ("stages.0.lr", 0.01)),
            ("data.augment.flip=true", ("data.augment.flip", True)),
            ('export.formats=["onnx"]', ("export.formats", ["onnx"])),
            ("student.model=resnet20", ("student.model", "resnet20")),
            ("data.name=folder:a=b", ("data.name", "folder:a=b")),
        ],
    )
    def test_are_written_as_key_and_toml_value_or_text(self, text: str, expected) -> None:
        assert parse_override(text) == expected

    @pytest.mark.parametrize("text", ["seed", "=3", ""])
    def test_without_key_or_sign_are_refused(self, text: str) -> None:
        with pytest.raises(RecipeError, match="KEY=VALUE"):
            parse_override(text)


def test_a_name_that_is_not_utf8_is_refused_with_its_place() -> None:
    name = b"folder:/tmp/caf\xe9".decode("utf-8", "surrogateescape")
    with pytest.raises(RecipeError, match=r"data\.name: folder:/tmp/caf\\xe9 is not UTF-8.*rename"):
        load_recipe(None, {"data.name": name})
