"""Images that a table names: CSV, TSV and JSON lines as people write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from foundation.errors import DataLayoutError, MissingFileError, UnreadableImageError, UsageError
from pipeline.data import load_dataset
from pipeline.data.dataset_files import files_of, walk_files
from pipeline.recipe.sections.data import DataRecipe

NAMES = ("a.png", "in/b b.png", "in/ü.png", "new\nline.png", "e.png", "f.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six pictures of one pixel, each of a shade that is its number."""
    for number, name in enumerate(NAMES):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (1, 1), (number, 0, 0)).save(path)
    return tmp_path


def load(root: Path, name: str, content: str, **settings):
    (root / name).write_text(content, encoding="utf-8")
    return load_dataset(DataRecipe(name=f"table:{root / name}", image_size=1, **settings))


def rows(images) -> list[tuple[int, int]]:
    """Shade and label of each image."""
    if images is None:
        return []
    shades = images.read(range(len(images.labels)))[:, 0, 0, 0].tolist()
    return list(zip(shades, images.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "path,label\na.png,cat\nin/b b.png,dog\n"),
        ("t.csv", "a.png,cat\nin/b b.png,dog\n"),  # without names of columns
        ("t.csv", "\ufeffPath;Label\r\na.png;cat\r\n\r\nin/b b.png;dog\r\n"),
        ("t.CSV", 'id,"file_name","class"\n1,"a.png","cat"\n2,"in/b b.png","dog"'),
        ("t.csv", "label, path\ncat, a.png\ndog, in/b b.png\n"),
        ("t.tsv", "path\tlabel\na.png\tcat\nin/b b.png\tdog\n"),
        ("t.jsonl", '{"path": "a.png", "label": "cat"}\n\n'
         '{"label": "dog", "path": "in/b b.png"}\n'),
        ("t.ndjson", '{"image": "a.png", "class": "cat", "n": [1]}\n'
         '{"image": "in/b b.png", "class": "dog"}'),
    ],
)  # fmt: skip
def test_paths_and_labels_are_read(root: Path, name: str, content: str) -> None:
    dataset = load(root, name, content)
    assert (dataset.classes, rows(dataset.train)) == (["cat", "dog"], [(0, 0), (1, 1)])
    assert (dataset.test, dataset.validation) == (None, None)


def test_odd_names_of_files_are_taken_as_they_stand(root: Path) -> None:
    quoted = f'path,label\n"{NAMES[3]}",cat\n{NAMES[2]},dog\n{root / "a.png"},dog\n'
    assert rows(load(root, "t.csv", quoted).train) == [(3, 0), (2, 1), (0, 1)]
    lines = "\n".join(json.dumps({"path": name, "label": name[0]}) for name in NAMES)
    assert [shade for shade, _ in rows(load(root, "t.jsonl", lines).train)] == [0, 1, 2, 3, 4, 5]


def test_a_column_says_the_split(root: Path) -> None:
    content = (
        "path,label,split\na.png,cat,train\nin/b b.png,dog,Train\nin/ü.png,dog,test\n"
        "e.png,cat,val\nf.png,dog,valid\n"
    )
    dataset = load(root, "t.csv", content)
    assert rows(dataset.train) == [(0, 0), (1, 1)]
    assert rows(dataset.validation) == [(4, 0), (5, 1)]
    assert rows(dataset.test) == [(2, 1)]
    headless = load(root, "t.csv", content.partition("\n")[2])
    assert rows(headless.test) == [(2, 1)]


def test_validation_rows_are_the_test_where_there_is_no_other(root: Path) -> None:
    dataset = load(root, "t.csv", "path,label,split\na.png,0,train\ne.png,1,train\nf.png,1,val\n")
    assert (rows(dataset.test), dataset.validation) == ([(5, 1)], None)
    assert any("the validation images are the test images" in line for line in dataset.remarks)


class TestLabels:
    def test_that_are_numbers_are_sorted_as_numbers(self, root: Path, tmp_path: Path) -> None:
        lines = [f"{number}.png,{number}" for number in range(12)]
        for number in range(12):
            Image.new("RGB", (1, 1), (number, 0, 0)).save(root / f"{number}.png")
        dataset = load(root, "t.csv", "\n".join(lines))
        assert dataset.classes == [str(number) for number in range(12)]
        assert rows(dataset.train) == [(number, number) for number in range(12)]

    @pytest.mark.parametrize("labels", [(1, 2), (0, 2), (0, 1000)])
    def test_that_are_numbers_with_a_gap_are_refused(self, root: Path, labels) -> None:
        """Numbered anew, they would be other logits than they were."""
        content = f"a.png,{labels[0]}\ne.png,{labels[1]}"
        with pytest.raises(DataLayoutError, match=f"from {labels[0]} to {labels[1]}, but not each"):
            load(root, "t.csv", content)

    def test_are_found_in_a_known_order(self, root: Path) -> None:
        dataset = load(root, "t.csv", "a.png,zebra\ne.png,tench", classes="imagenet1k")
        assert rows(dataset.train) == [(0, 340), (4, 0)]
        numbers = load(root, "t.jsonl", '{"path":"a.png","label":340}', classes="imagenet1k")
        assert (rows(numbers.train), numbers.classes[340]) == ([(0, 340)], "zebra")

    def test_of_one_class_are_too_few(self, root: Path) -> None:
        with pytest.raises(DataLayoutError, match="all images are of class 'cat'"):
            load(root, "t.csv", "a.png,cat\ne.png,cat")

    def test_of_which_nothing_is_learnt_are_refused(self, root: Path) -> None:
        content = "path,label,split\na.png,cat,train\ne.png,dog,test\nf.png,cat,test\n"
        with pytest.raises(DataLayoutError, match="no training image of 'dog'"):
            load(root, "t.csv", content)


class TestATableThatIsNotRight:
    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            ("t.csv", "", "names no images"),
            ("t.csv", "path,label\n", "names no images"),
            ("t.csv", "path,colour\na.png,red\n", "line 1: no column 'label' among 'path'"),
            ("t.csv", "id,label\n1,cat\n", "no column 'path' among"),
            ("t.csv", "cat,a.png\n", "no column 'path' and no column 'label'"),
            ("t.csv", "file,image,label\na.png,a.png,cat\n", "columns 'file', 'image' may all"),
            ("t.csv", "path,label\na.png,cat\ne.png\n", "line 3: no label"),
            ("t.csv", "path,label\n,cat\n", "line 2: no path"),
            ("t.csv", 'path,label\n"a.png,cat\n', "line 2: no line of a table"),
            ("t.csv", "path,label,split\na.png,cat,trial\n", "line 2: 'trial' is no split"),
            ("t.csv", "path,label,split\na.png,cat,\ne.png,dog,train\n", "line 2: no split"),
            ("t.csv", "a.png,cat\na.png,dog\n", "a.png has two labels, 'dog' here and 'cat' in"),
            ("t.csv", "path,label,split\na.png,x,train\na.png,x,test\n", "a.png has two splits"),
            ("t.csv", 'path,label\na.png,"a\nb"\n', r"'a\\nb' is no label"),
            ("t.jsonl", "{", "line 1: not JSON"),
            ("t.jsonl", '["a.png", "cat"]', "line 1: no object"),
            ("t.jsonl", '{"path": "a.png"}', "line 1: no label"),
            ("t.jsonl", '{"path": "a.png", "label": true}', "line 1: no label"),
            ("t.jsonl", '{"path": "a.png", "label": 0.5}', "line 1: no label"),
            ("t.txt", "a.png cat", r"call it \.csv, \.tsv or \.jsonl"),
        ],
    )  # fmt: skip
    def test_is_told_with_its_line(self, root: Path, name: str, content: str, words: str) -> None:
        with pytest.raises(DataLayoutError, match=words) as caught:
            load(root, name, content)
        assert "\n" not in str(caught.value)

    def test_by_its_encoding_is_told_how_to_save_it(self, root: Path) -> None:
        for encoding, words in (
            ("latin-1", r"byte 0xFC in line 1 is not UTF-8"),
            ("utf-16", "UTF-16"),
        ):
            (root / "t.csv").write_bytes("ü.png,cat\n".encode(encoding))
            with pytest.raises(DataLayoutError, match=words):
                load_dataset(DataRecipe(name=f"table:{root / 't.csv'}"))

    def test_for_files_that_are_gone_is_told_with_the_first(self, root: Path) -> None:
        content = "path,label\na.png,cat\nin\\b.png,dog\nno.png,dog\n"
        with pytest.raises(MissingFileError, match=r"line 3: no file .*2 of 3 .*write / between"):
            load(root, "t.csv", content)
        skipping = load(root, "t.csv", "a.png,cat\ne.png,dog\nno.png,dog", on_bad_image="skip")
        assert skipping.skipped == (str(root / "no.png"),)

    def test_for_a_file_that_is_no_picture_is_told_by_its_name(self, root: Path) -> None:
        (root / "a.png").write_text("words")
        with pytest.raises(UnreadableImageError, match=r"a\.png: not a readable image"):
            load(root, "t.csv", "a.png,cat\ne.png,dog")

    def test_or_that_is_none(self, root: Path) -> None:
        with pytest.raises(UsageError, match="table:PATH"):
            load_dataset(DataRecipe(name="table"))
        with pytest.raises(MissingFileError, match="a folder; name the table in it"):
            load_dataset(DataRecipe(name=f"table:{root}"))
        with pytest.raises(MissingFileError, match="no such table"):
            load_dataset(DataRecipe(name=f"table:{root}/x.csv"))


def test_a_row_that_says_the_same_again_counts_once(root: Path) -> None:
    assert len(load(root, "t.csv", "a.png,cat\ne.png,dog\na.png,cat").train.labels) == 2


def test_the_table_and_its_images_are_looked_at_for_changes(root: Path) -> None:
    (root / "t.csv").write_text(f"path,label\nf.png,cat\nin/b b.png,dog\n{root / 'a.png'},dog\n")
    files = files_of(f"table:{root / 't.csv'}")
    places = [place for place, _ in walk_files(files)]
    assert places == ["t.csv", str(root / "a.png"), "f.png", "in/b b.png"]
