from __future__ import annotations

import io
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import (
    CorruptFileError,
    DataLayoutError,
    MissingFileError,
    UnreadableImageError,
    UsageError,
)
from pipeline.data import decoding, load_dataset
from pipeline.data.tars import tar_images
from pipeline.recipe.sections.data import DataRecipe

Member = tuple[str, bytes]


def encoded(value: int, kind: str = "PNG", size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(file, kind)
    return file.getvalue()


def sample(key: str, value: int, label: int | str) -> list[Member]:
    return [(f"{key}.png", encoded(value)), (f"{key}.cls", f"{label}\n".encode())]


def write_tar(path: Path, members: list[Member]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache/edge-compress"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two training shards of six samples each, one test shard of four; two classes."""
    folder = tmp_path / "set"
    folder.mkdir()
    for shard in range(2):
        numbers = range(6 * shard, 6 * shard + 6)
        members = [m for n in numbers for m in sample(f"k{n:03}", 10 * n, n % 2)]
        write_tar(folder / f"train-{shard:03}.tar", members)
    write_tar(
        folder / "test-000.tar", [m for n in range(4) for m in sample(f"t{n}", 200 + n, n % 2)]
    )
    return folder


def load(root: Path, **settings):
    return load_dataset(DataRecipe(name=f"shards:{root}", **settings))


def values(images) -> list[int]:
    """The first pixel of every image, which says which it is."""
    return images.read(np.arange(len(images.labels)))[:, 0, 0, 0].tolist()


def rewrite(root: Path, *members: Member, name: str = "train-001.tar") -> Path:
    return write_tar(root / name, list(members))


class TestShards:
    def test_are_read_in_the_order_of_files_and_members(self, root: Path) -> None:
        dataset = load(root)
        assert values(dataset.train) == [10 * number for number in range(12)]
        assert dataset.train.labels.tolist() == [0, 1] * 6
        assert values(dataset.test) == [200, 201, 202, 203]
        assert dataset.classes == ["0", "1"]

    def test_take_the_asked_size_or_that_of_the_first(self, root: Path) -> None:
        some = np.array([3])
        assert load(root).train.read(some).shape == (1, 8, 8, 3)
        assert load(root, image_size=5, teacher_image_size=6).train.read(some).shape[1] == 6

    def test_are_read_from_disk_again_and_again_where_they_do_not_fit(
        self, root: Path, monkeypatch
    ) -> None:
        monkeypatch.setattr(decoding, "_IN_MEMORY_BYTES", 0)
        train = load(root).train
        assert isinstance(train, decoding.DecodedImages)
        assert train.read(np.array([11, 0, 7]))[:, 0, 0, 0].tolist() == [110, 0, 70]

    def test_take_names_of_classes_from_a_file(self, root: Path) -> None:
        (root / "classes.txt").write_text("cat\ndog\n")
        assert load(root).classes == ["cat", "dog"]

    def test_may_hold_jpegs_folders_and_other_things(self, root: Path) -> None:
        rewrite(
            root,
            ("a/x.json", b"{}"), ("a/x.JPG", encoded(90, "JPEG")), ("a/x.cls", b" 1 "),
            ("b/x.cls", b"0"), ("b/x.jpeg", encoded(120, "JPEG")), ("b/x.seg.png", b""),
            ("readme.txt", b"no sample"), ("only.json", b"{}"),
        )  # fmt: skip
        train = load(root).train
        np.testing.assert_allclose(values(train)[6:], [90, 120], atol=2)
        assert train.labels.tolist()[6:] == [1, 0]


class TestTheIndex:
    def test_is_written_beside_and_read_the_next_time(self, root: Path) -> None:
        before = values(load(root).train)
        index = root / "train.index.npz"
        stamp = index.stat().st_mtime_ns
        # A shard that cannot be read shows that it is not scanned again.
        shard = root / "train-001.tar"
        kept, times = shard.read_bytes(), shard.stat()
        shard.write_bytes(b"x" * 512 + kept[512:])
        os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert values(load(root).train) == before
        assert index.stat().st_mtime_ns == stamp

    def test_is_made_anew_when_a_shard_has_changed(self, root: Path) -> None:
        load(root)
        rewrite(root, *sample("new", 77, 1))
        assert values(load(root).train)[6:] == [77]

    def test_is_made_anew_when_a_shard_of_the_same_size_is_newer(self, root: Path) -> None:
        load(root)
        shard = root / "train-001.tar"
        size, times = shard.stat().st_size, shard.stat()
        rewrite(root, *(m for n in range(6) for m in sample(f"k{n:03}", 100 + n, n % 2)))
        assert shard.stat().st_size == size
        os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
        index = root / "train.index.npz"
        before = index.read_bytes()
        assert values(load(root).train)[6:] == [100, 101, 102, 103, 104, 105]
        assert index.read_bytes() != before

    def test_is_made_anew_when_a_shard_comes_or_goes(self, root: Path) -> None:
        load(root)
        write_tar(root / "train-002.tar", sample("more", 250, 1))
        assert values(load(root).train)[-1] == 250
        (root / "train-000.tar").unlink()
        assert values(load(root).train) == [60, 70, 80, 90, 100, 110, 250]

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no index"])
    def test_that_is_spoilt_is_made_anew(self, root: Path, content: bytes) -> None:
        before = values(load(root).train)
        (root / "train.index.npz").write_bytes(content)
        assert values(load(root).train) == before
        assert (root / "train.index.npz").read_bytes() != content

    def test_that_holds_a_pickle_is_not_loaded(self, root: Path) -> None:
        before = values(load(root).train)
        np.savez(root / "train.index.npz", stamp=np.array([{"a": 1}], object))
        assert values(load(root).train) == before

    def test_lies_in_the_users_cache_where_it_cannot_lie_beside(
        self, root: Path, cache: Path
    ) -> None:
        (root / "train.index.npz").mkdir()
        before = values(load(root).train)
        (index,) = cache.iterdir()
        stamp = index.stat().st_mtime_ns
        assert values(load(root).train) == before
        assert index.stat().st_mtime_ns == stamp
        assert (root / "test.index.npz").is_file()

    def test_can_be_done_without(self, root: Path, cache: Path) -> None:
        (root / "train.index.npz").mkdir()
        cache.parent.write_text("no folder")
        assert len(load(root).train.labels) == 12

    def test_is_made_without_holding_the_whole_list_of_members(self, root: Path) -> None:
        label_only = [(f"n{n:04}.{kind}", b"1") for n in range(1500) for kind in ("cls", "png")]
        shard = rewrite(root, *label_only)
        tracemalloc.start()
        try:
            images = tar_images([shard], root / "x.npz")
            assert tracemalloc.get_traced_memory()[1] / len(images) < 600
        finally:
            tracemalloc.stop()

    def test_takes_few_bytes_a_sample(self, root: Path) -> None:
        shard = rewrite(root, *(m for n in range(500) for m in sample(f"n{n:08}", 0, 0)))
        images = tar_images([shard], root / "x.npz")
        kept = images.places.nbytes + len(images.keys.content) + 8 * len(images.keys.ends)
        assert kept / 500 < 50


class TestAShardThatIsNotRight:
    def test_lacks_a_label(self, root: Path) -> None:
        rewrite(root, ("dir/lone.png", encoded(0)), *sample("other", 0, 0))
        with pytest.raises(DataLayoutError, match=r"train-001\.tar: dir/lone: .*lone\.cls is miss"):
            load(root)

    def test_lacks_an_image(self, root: Path) -> None:
        rewrite(root, *sample("other", 0, 0), ("lone.cls", b"1"))
        with pytest.raises(DataLayoutError, match=r"train-001\.tar: lone: an image is missing"):
            load(root)

    @pytest.mark.parametrize("label", ["cat", "-1", "1.0", "", "99999999999999999999", "²"])
    def test_has_a_label_that_is_no_number(self, root: Path, label: str) -> None:
        rewrite(root, *sample("odd", 0, label))
        with pytest.raises(DataLayoutError, match=r"train-001\.tar: odd\.cls: .*whole number"):
            load(root)

    def test_has_labels_with_a_gap(self, root: Path) -> None:
        rewrite(root, *sample("far", 0, 7))
        with pytest.raises(DataLayoutError, match=r"labels must be 0\.\.2 .*from 0 to 7"):
            load(root)

    @pytest.mark.parametrize("shard", ["train-001.tar", "test-000.tar"])
    def test_has_a_label_beyond_the_classes(self, root: Path, shard: str) -> None:
        (root / "classes.txt").write_text("cat\ndog\n")
        rewrite(root, *sample("ok", 0, 1), *sample("far", 0, 2), name=shard)
        with pytest.raises(DataLayoutError, match=rf"{shard}: far\.cls: label 2, .* 2 classes"):
            load(root)

    def test_leaves_a_class_without_images(self, root: Path) -> None:
        (root / "classes.txt").write_text("cat\ndog\ncow\n")
        with pytest.raises(DataLayoutError, match="no image of class 'cow'"):
            load(root)

    @pytest.mark.parametrize("left", [0, 100, 512, 700, 512 * 4])
    def test_is_cut_short(self, root: Path, left: int) -> None:
        """Within a header, within an image, and after a whole member."""
        shard = root / "train-001.tar"
        shard.write_bytes(shard.read_bytes()[:left])
        with pytest.raises((CorruptFileError, DataLayoutError), match=r"train-001\.tar"):
            load(root)

    def test_is_cut_short_between_two_samples(self, root: Path) -> None:
        shard = root / "train-001.tar"
        with tarfile.open(shard) as tar:
            end = tar.getmembers()[4].offset
        shard.write_bytes(shard.read_bytes()[:end])
        with pytest.raises(CorruptFileError, match=r"train-001\.tar: not a whole tar file"):
            load(root)

    def test_has_a_spoilt_header_in_its_middle(self, root: Path) -> None:
        shard = root / "train-001.tar"
        with tarfile.open(shard) as tar:
            start = tar.getmembers()[4].offset
        content = bytearray(shard.read_bytes())
        content[start : start + 100] = b"x" * 100
        shard.write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"train-001\.tar: not a whole tar file"):
            load(root)

    def test_is_no_tar_file(self, root: Path) -> None:
        (root / "train-001.tar").write_text("no tar file")
        with pytest.raises(CorruptFileError, match=r"train-001\.tar: not a whole tar file"):
            load(root)

    def test_has_an_image_that_cannot_be_decoded(self, root: Path) -> None:
        members = [*sample("ok", 5, 0), ("bad.png", b"no image"), ("bad.cls", b"1")]
        shard = rewrite(root, *members)
        with pytest.raises(UnreadableImageError, match=r"train-001\.tar: bad: not a readable"):
            load(root)
        dataset = load(root, on_bad_image="skip")
        assert dataset.skipped == (f"{shard}: bad",)
        assert values(dataset.train)[6:] == [5]

    @pytest.mark.parametrize("size", [-512, -1024, -1, 2**40, 2**62])
    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_states_a_size_that_cannot_be(self, root: Path, size: int, kind: bytes) -> None:
        """A size of −512 would lead from a header to itself, for ever."""
        shard = root / "train-001.tar"
        with tarfile.open(shard) as tar:
            start = tar.getmembers()[4].offset
        content = bytearray(shard.read_bytes())
        header = tarfile.TarInfo("k.png").tobuf(tarfile.GNU_FORMAT)
        field = (size & (2**88 - 1)).to_bytes(11, "big")
        header = header[:124] + (b"\xff" if size < 0 else b"\x80") + field + header[136:]
        header = header[:156] + kind + header[157:]
        total = 256 + sum(header[:148]) + sum(header[156:512])
        content[start : start + 512] = header[:148] + b"%06o\0 " % total + header[156:]
        shard.write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"train-001\.tar: not a whole .* from byte \d+"):
            load(root)

    def test_is_headers_about_headers_without_end(self, root: Path) -> None:
        header = tarfile.TarInfo("pax").tobuf(tarfile.USTAR_FORMAT)
        header = header[:156] + tarfile.XGLTYPE + header[157:]
        header = (
            header[:148] + b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:])) + header[156:]
        )
        (root / "train-001.tar").write_bytes(header * 5000)
        with pytest.raises(CorruptFileError, match=r"train-001\.tar: not a whole tar file"):
            load(root)

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
    def test_has_a_link_or_a_pipe_for_an_image(self, root: Path, kind: bytes) -> None:
        with tarfile.open(root / "train-001.tar", "w") as tar:
            info = tarfile.TarInfo("k.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        with pytest.raises(DataLayoutError, match=r"k\.png: a .*not followed; write the"):
            load(root)

    @pytest.mark.parametrize(("mode", "name"), [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")])
    def test_is_compressed(self, root: Path, mode: str, name: str) -> None:
        with tarfile.open(root / "train-001.tar", f"w:{mode}") as tar:
            tar.addfile(tarfile.TarInfo("k.png"))
        with pytest.raises(CorruptFileError, match=f"compressed with {name}.*unpack it once"):
            load(root)

    def test_has_two_images_of_one_key(self, root: Path) -> None:
        rewrite(root, *sample("x", 0, 0), ("x.jpg", encoded(9, "JPEG")))
        with pytest.raises(DataLayoutError, match=r"train-001\.tar: x: 2 images of one key"):
            load(root)

    def test_has_keys_with_dots(self, root: Path) -> None:
        members = [(f"img.{n}.{kind}", b"1") for n in range(3) for kind in ("png", "cls")]
        write_tar(root / "test-000.tar", members)
        with pytest.raises(DataLayoutError, match=r"KEY has no dot .*img\.0\.png"):
            load(root)

    def test_may_not_be_read(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shard, open_file = root / "train-001.tar", Path.open

        def refuse(path: Path, *arguments, **settings):
            if path == shard:
                raise PermissionError(13, "Permission denied", str(path))
            return open_file(path, *arguments, **settings)

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(DataLayoutError, match=r"train-001\.tar: this user may not read it"):
            load(root)


class TestTheRuleForImages:
    """The same as in folders; what is none is said."""

    @pytest.mark.parametrize(
        ("suffix", "kind"), [("webp", "WEBP"), ("WEBP", "WEBP"), ("jfif", "JPEG"), ("pgm", "PPM")]
    )
    def test_knows_the_same_suffixes(self, root: Path, suffix: str, kind: str) -> None:
        rewrite(root, (f"x.{suffix}", encoded(90, kind)), ("x.cls", b"1"))
        np.testing.assert_allclose(values(load(root).train)[6:], [90], atol=3)

    def test_passes_over_what_hides_wherever_it_stands(self, root: Path) -> None:
        rewrite(
            root,
            ("./a.png", encoded(90)), ("._a.png", b"\0\5\x16\7"), ("a.json", b"{}"),
            ("./a.cls", b"\xef\xbb\xbf1\r\n"), ("__MACOSX/b.png", b""), ("b.heic", b""),
        )  # fmt: skip
        for _ in ("scanned", "from the index"):
            dataset = load(root)
            assert values(dataset.train)[6:] == [90]
            said = "\n".join(dataset.remarks)
            assert "2 hidden or system files ('train-001.tar: ._a.png'" in said
            assert "1 other file ('train-001.tar: a.json')" in said
            assert "1 left out, of a kind of picture that is not read" in said

    def test_says_which_class_is_not_tested(self, root: Path) -> None:
        write_tar(root / "test-000.tar", sample("t", 0, 1))
        assert "no test image of '0' (1 of 2 classes)" in load(root).remarks


class TestNamesOfClasses:
    @pytest.mark.parametrize(
        "content",
        [b"\xef\xbb\xbfcaf\xc3\xa9\r\ndog\r\n", b"caf\xc3\xa9\rdog", b"caf\xc3\xa9\n dog \n\n\n"],
    )
    def test_are_the_same_whatever_ends_a_line(self, root: Path, content: bytes) -> None:
        (root / "classes.txt").write_bytes(content)
        assert load(root).classes == ["caf\xe9", "dog"]

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("caf\xe9\ndog".encode("latin-1"), r"byte 0xE9 in line 1 is not UTF-8"),
            ("cat\ndog".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
            ("cat\ndog".encode("utf-16-le"), "no text, or UTF-16"),
            (b"cat\n\ndog", "line 2: empty"),
            (b"cat\ndog\ncat", "line 3: 'cat' stands in line 1 too"),
        ],
    )
    def test_that_could_be_wrong_are_refused(self, root: Path, content: bytes, words: str) -> None:
        (root / "classes.txt").write_bytes(content)
        with pytest.raises(DataLayoutError, match=rf"classes\.txt.*{words}"):
            load(root)


class TestAPlantedIndex:
    @pytest.mark.parametrize(
        ("field", "value"),
        [("shard", 7), ("shard", -1), ("start", -5), ("start", 2**40), ("size", -1), ("label", -1)],
    )
    def test_that_cannot_be_true_is_made_anew(self, root: Path, field: str, value: int) -> None:
        before = values(load(root).train)
        with np.load(root / "train.index.npz") as arrays:
            content = dict(arrays)
        content["places"][field][3] = value
        np.savez(root / "train.index.npz", **content)
        assert values(load(root).train) == before

    def test_that_unpacks_to_more_than_it_is_is_made_anew(self, root: Path) -> None:
        before = values(load(root).train)
        with np.load(root / "train.index.npz") as arrays:
            content = dict(arrays)
        content["keys"] = np.zeros(10**7, np.uint8)
        np.savez_compressed(root / "train.index.npz", **content)
        assert values(load(root).train) == before

    def test_that_is_a_link_is_replaced_and_its_target_left_alone(self, root: Path) -> None:
        target = root / "precious"
        target.write_text("precious")
        (root / "train.index.npz").symlink_to(target)
        load(root)
        assert target.read_text() == "precious"
        assert not (root / "train.index.npz").is_symlink()

    def test_that_is_a_pipe_is_not_waited_for(self, root: Path) -> None:
        os.mkfifo(root / "train.index.npz")
        assert len(load(root).train.labels) == 12


class TestAFolderOfShardsThatIsNotRight:
    def test_whose_shards_are_packed_is_told_so(self, root: Path) -> None:
        for shard in root.glob("train-*.tar"):
            shard.rename(shard.with_suffix(".tar.gz"))
        with pytest.raises(DataLayoutError, match=r"no train-.*'train-000\.tar\.gz'.*gunzip"):
            load(root)

    def test_without_a_path(self) -> None:
        with pytest.raises(UsageError, match="shards:PATH"):
            load_dataset(DataRecipe(name="shards"))

    def test_without_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="nowhere: no such folder"):
            load(tmp_path / "nowhere")

    def test_without_any_split(self, root: Path) -> None:
        for shard in root.glob("*.tar"):
            shard.unlink()
        with pytest.raises(DataLayoutError, match=r"set: no train-\*\.tar"):
            load(root)

    def test_without_a_sample(self, root: Path) -> None:
        rewrite(root, name="test-000.tar")
        with pytest.raises((DataLayoutError, CorruptFileError), match="test-"):
            load(root)


class TestSplitsAsTheyAre:
    def renamed(self, root: Path, before: str, after: str) -> None:
        for shard in root.glob(f"{before}-*.tar"):
            shard.rename(shard.with_name(shard.name.replace(before, after, 1)))

    def test_validation_shards_are_the_test_where_there_are_no_others(self, root: Path) -> None:
        self.renamed(root, "test", "val")
        dataset = load(root)
        assert (values(dataset.test), dataset.validation) == ([200, 201, 202, 203], None)

    def test_validation_shards_are_taken_for_validation(self, root: Path) -> None:
        shutil.copy(root / "test-000.tar", root / "val-000.tar")
        dataset = load(root)
        assert values(dataset.validation) == values(dataset.test) == [200, 201, 202, 203]

    @pytest.mark.parametrize("gone", ["train", "test"])
    def test_one_split_may_be_all_there_is(self, root: Path, gone: str) -> None:
        for shard in root.glob(f"{gone}-*.tar"):
            shard.unlink()
        dataset = load(root)
        left, other = dataset.train, dataset.test
        if gone == "train":
            left, other = other, left
        assert other is None
        assert sorted(set(left.labels.tolist())) == [0, 1]

    def test_a_known_order_names_the_classes(self, root: Path) -> None:
        dataset = load(root, classes="imagenet1k")
        assert (len(dataset.classes), dataset.classes[:2]) == (1000, ["tench", "goldfish"])
