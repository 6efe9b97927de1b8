from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from export.graphs.recorded_classes import logit_count_of, recorded_classes

PETS = ("cat", "dog")


def written(path: Path, outputs: int | str = 2, **notes: str) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", outputs])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", outputs])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [result])
    model = helper.make_model(graph)
    helper.set_model_props(model, notes)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "notes",
    [
        {"classes": json.dumps(PETS)},
        {"names": "{0: 'cat', 1: 'dog'}"},  # as Ultralytics has them
        {"id2label": json.dumps({"1": "dog", "0": "cat"})},
        {"class_to_idx": json.dumps({"dog": 1, "cat": 0})},
        {"Labels": "('cat', 'dog')"},
        {"classes": "no list", "names": json.dumps(PETS)},
    ],
)
def test_classes_are_read_as_programs_note_them(tmp_path: Path, notes: dict[str, str]) -> None:
    assert recorded_classes(written(tmp_path / "a.onnx", **notes)) == PETS


@pytest.mark.parametrize(
    "note", ["", "cat", "[]", "[1, 2]", "{0: 'cat', 2: 'dog'}", "__import__('os')", "[" * 100_000]
)
def test_what_is_no_list_of_names_is_none(tmp_path: Path, note: str) -> None:
    assert recorded_classes(written(tmp_path / "a.onnx", classes=note)) is None


def test_a_file_that_is_none_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("words")
    for name in ("a.onnx", "b.onnx"):
        assert recorded_classes(tmp_path / name) is None
        assert logit_count_of(tmp_path / name) is None


def test_the_number_of_logits_is_told_where_it_stands(tmp_path: Path) -> None:
    assert logit_count_of(written(tmp_path / "a.onnx", outputs=10)) == 10
    assert logit_count_of(written(tmp_path / "a.onnx", outputs="classes")) is None
