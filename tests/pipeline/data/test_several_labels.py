from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundation.errors import DataLayoutError
from pipeline.data.several_labels import check_one_label_each
from pipeline.data.tables import read_rows


@pytest.mark.parametrize("both", ["crack;rust", "crack|rust", "crack, rust", "crack+rust"])
def test_a_label_that_is_two_others_is_refused(both: str) -> None:
    with pytest.raises(DataLayoutError, match="is 2 labels at once, but each image has one class"):
        check_one_label_each(["good", "crack", both, "rust"], "images.csv")


@pytest.mark.parametrize("name", ["black, white", "C++", "salt;pepper"])
def test_a_name_with_such_a_sign_in_it_is_a_name(name: str) -> None:
    check_one_label_each(["black", name, "pepper"], "images.csv")


def test_a_list_of_labels_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "images.jsonl"
    rows = [{"path": "0.png", "label": "crack"}, {"path": "1.png", "label": ["crack", "rust"]}]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataLayoutError, match=r"images.jsonl line 2: a list of labels, but each"):
        read_rows(path)
