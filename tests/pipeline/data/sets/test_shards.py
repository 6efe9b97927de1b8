from __future__ import annotations

import io
import os
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
from pipeline.recipe import DataRecipe

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
        with pytest.raises(DataLayoutError, match=r"labels must be 0\.\.2 .*largest is 7"):
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


class TestAFolderOfShardsThatIsNotRight:
    def test_without_a_path(self) -> None:
        with pytest.raises(UsageError, match="shards:PATH"):
            load_dataset(DataRecipe(name="shards"))

    def test_without_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingFileError, match="nowhere: no such folder"):
            load(tmp_path / "nowhere")

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_without_a_split(self, root: Path, split: str) -> None:
        for shard in root.glob(f"{split}-*.tar"):
            shard.unlink()
        with pytest.raises(DataLayoutError, match=rf"set: no {split}-\*\.tar"):
            load(root)

    def test_without_a_sample(self, root: Path) -> None:
        rewrite(root, name="test-000.tar")
        with pytest.raises((DataLayoutError, CorruptFileError), match="test-"):
            load(root)
