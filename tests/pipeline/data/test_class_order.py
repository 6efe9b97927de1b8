from __future__ import annotations

from pathlib import Path

import pytest

from foundation.errors import DataLayoutError, MissingFileError, UnknownNameError
from pipeline.data.class_order import ClassOrder, class_order, order_names

PETS = ClassOrder("pets", ["cat", "guinea pig", "dog", "7"], ["id1", "id2", "id3", "id4"])


class TestImagenet1k:
    """A few places that every table of it has, and that its networks answer by."""

    def test_has_a_thousand_classes_in_the_order_of_their_ids(self) -> None:
        order = class_order("imagenet1k")
        assert len(set(order.classes)) == len(set(order.ids)) == 1000
        assert order.ids == sorted(order.ids)
        places = {
            0: "tench",
            1: "goldfish",
            7: "cock",
            281: "tabby",
            340: "zebra",
            999: "toilet tissue",
        }
        assert {place: order.classes[place] for place in places} == places
        assert order.ids[340] == "n02391049"

    def test_has_the_names_that_torchvisions_weights_have(self) -> None:
        from torchvision.models import ResNet18_Weights  # noqa: PLC0415

        names = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
        assert class_order("imagenet1k").classes == names

    def test_is_known(self) -> None:
        assert "imagenet1k" in order_names()


class TestClassesAreFound:
    @pytest.mark.parametrize(
        ("names", "labels"),
        [
            (["dog", "cat"], [2, 0]),
            (["id3", "id1"], [2, 0]),
            (["Guinea_Pig", "DOG"], [1, 2]),
            (["id2_guinea_pig", "id1-cat", "id3.dog"], [1, 0, 2]),
            (["2", "0"], [2, 0]),
            (["002", "000"], [2, 0]),
            (["7"], [3]),  # a name, though it is a number
            (["dog", "id1", "guinea-pig"], [2, 0, 1]),
        ],
    )
    def test_by_name_by_id_or_by_number(self, names: list[str], labels: list[int]) -> None:
        assert PETS.labels_of(names, "photos") == labels

    def test_of_photos_called_by_wordnet_id_and_name(self) -> None:
        names = ["n02391049", "n01440764_tench", "electric_ray"]
        assert class_order("imagenet1k").labels_of(names, "photos") == [340, 0, 5]


class TestClassesThatAreNone:
    @pytest.mark.parametrize(
        ("names", "words"),
        [
            (
                ["cat", "dgo"],
                r"photos: 1 of 2 classes \('dgo'\) are none of the 4 of pets .*mean 'dog'",
            ),
            (["cat", "Guinea_Pg"], "did you mean 'guinea pig'"),
            (["0", "4"], r"'4'.*their numbers go from 0 to 3"),
            (["cat", "zzzzz"], "rename them, or name another order"),
            (["cat", "0"], "'0'"),  # names and numbers do not go together
            (["cat", "id1"], r"'cat' and 'id1' are both class 0 \('cat'\) of pets"),
        ],
    )
    def test_are_told_of_with_the_nearest(self, names: list[str], words: str) -> None:
        with pytest.raises(DataLayoutError, match=words):
            PETS.labels_of(names, "photos")


class TestAFile:
    @pytest.mark.parametrize(
        ("name", "content", "classes", "ids"),
        [
            ("a.txt", "cat\nguinea pig\n\n", ["cat", "guinea pig"], []),
            ("a.txt", "\ufeffcat\r\ndog\r\n", ["cat", "dog"], []),
            ("a", "id1\tcat\nid2\tdog", ["cat", "dog"], ["id1", "id2"]),
            ("a.txt", "n01440764 tench\nn01443537 goldfish, Carassius auratus\n",
             ["tench", "goldfish, Carassius auratus"], ["n01440764", "n01443537"]),
            ("a.json", '["cat", "dog"]', ["cat", "dog"], []),
            ("a.json", '{"1": "dog", "0": "cat"}', ["cat", "dog"], []),
            ("a.json", '{"dog": 1, "cat": 0}', ["cat", "dog"], []),
            ("a.JSON", '{"1": ["n2", "dog"], "0": ["n1", "cat"]}', ["cat", "dog"], ["n1", "n2"]),
        ],
    )  # fmt: skip
    def test_of_names_is_read(self, tmp_path: Path, name, content, classes, ids) -> None:
        (tmp_path / name).write_text(content, encoding="utf-8")
        order = class_order(str(tmp_path / name))
        assert (order.classes, order.ids) == (classes, ids)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("a.txt", b"cat\n\ndog", "line 2: empty"),
            ("a.txt", b"cat\ncat", "line 2: 'cat' stands in line 1 too"),
            ("a.txt", b"n1\tcat\nn2\tcat", "'cat' stands there twice"),
            ("a.txt", b"", "line 1: empty"),
            ("a.txt", "cat".encode("utf-16"), "UTF-16"),
            ("a.txt", b"caf\xe9", "not UTF-8"),
            ("a.json", b"{", "not JSON"),
            ("a.json", b"[]", "no list of class names"),
            ("a.json", b"3", "no list of class names"),
            ("a.json", b'{"0": "cat", "2": "dog"}', "must be 0 to 1, each once"),
            ("a.json", b'{"cat": 1, "dog": 1}', "must be 0 to 1, each once"),
            ("a.json", b'[1, "dog"]', "1 is no class name"),
            ("a.json", b'["a\\nb", "dog"]', "is no class name; write one that can be printed"),
        ],
    )
    def test_of_something_else_is_refused(self, tmp_path: Path, name, content, words) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataLayoutError, match=words):
            class_order(str(tmp_path / name))

    def test_that_is_not_there_is_told_from_a_name(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="no such file of class names"):
            class_order(str(tmp_path / "a.txt"))
        with pytest.raises(UnknownNameError, match="did you mean 'imagenet1k'"):
            class_order("imagenet-1k")
