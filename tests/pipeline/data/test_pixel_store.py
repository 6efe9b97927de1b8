from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.pixel_store import PixelStore, checksum

COUNT = 60


def picture(number: int) -> np.ndarray:
    random = np.random.default_rng(number)
    shape = (5 + number % 7, 3 + number % 5, 1 if number % 4 == 0 else 3)
    return random.integers(0, 256, shape, dtype=np.uint8)


def fill(store: PixelStore, numbers: range) -> None:
    for number in numbers:
        store.add(number, picture(number))


def assert_holds(store: PixelStore, numbers: range) -> None:
    for number in numbers:
        np.testing.assert_array_equal(store.read(number), picture(number))
        assert store.shape(number) == picture(number).shape


def test_what_is_added_is_there_and_nothing_else_is(tmp_path: Path) -> None:
    store = PixelStore(tmp_path / "new" / "folder", COUNT)
    fill(store, range(10))
    assert_holds(store, range(10))
    assert len(store) == 10
    assert store.read(10) is None
    assert store.shape(10) is None


def test_rows_are_those_of_the_picture(tmp_path: Path) -> None:
    store = PixelStore(tmp_path, COUNT)
    fill(store, range(5))
    for again in (False, True):
        store = store if not again else PixelStore(tmp_path, COUNT)
        for _ in range(2):  # held against its checksum, and as it lies
            np.testing.assert_array_equal(store.read(3, 2, 6), picture(3)[2:6])


def test_another_one_finds_it_at_once_or_when_it_looks_again(tmp_path: Path) -> None:
    first = PixelStore(tmp_path, COUNT)
    fill(first, range(5))
    second = PixelStore(tmp_path, COUNT)
    assert_holds(second, range(5))
    fill(first, range(5, 9))
    assert second.read(7) is None
    second.refresh()
    assert_holds(second, range(9))
    fill(second, range(9, 12))
    first.refresh()
    assert_holds(first, range(12))


def test_many_threads_may_add_and_read_at_once(tmp_path: Path) -> None:
    store = PixelStore(tmp_path, COUNT)

    def work(number: int) -> bool:
        store.add(number, picture(number))
        return bool((store.read(number) == picture(number)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(COUNT)))
    assert_holds(PixelStore(tmp_path, COUNT), range(COUNT))


ADDING = """
import sys
from pathlib import Path
import numpy as np
from pipeline.data.pixel_store import PixelStore
store = PixelStore(Path(sys.argv[1]), 10_000)
print("ready", flush=True)
for number in range(10_000):
    store.add(number, np.full((64, 64, 3), number % 251, np.uint8))
"""


def test_what_a_killed_process_left_is_whole_or_not_there(tmp_path: Path) -> None:
    for delay in (0.0, 0.03, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", ADDING, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = PixelStore(tmp_path, 10_000)
    present = [number for number in range(10_000) if store.shape(number)]
    assert len(present) > 10
    for number in present:
        assert (store.read(number) == number % 251).all()
    store.add(9_999, np.zeros((2, 2, 3), np.uint8))
    assert PixelStore(tmp_path, 10_000).shape(9_999) == (2, 2, 3)


class TestWhatIsDamaged:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        store = PixelStore(tmp_path, COUNT)
        fill(store, range(20))
        store.close()
        return tmp_path

    def file(self, folder: Path, kind: str) -> Path:
        (path,) = folder.glob(f"*.{kind}")
        return path

    def test_pixels_that_changed_are_not_there_and_can_be_added_again(self, folder) -> None:
        path = self.file(folder, "pixels")
        content = bytearray(path.read_bytes())
        content[picture(0).nbytes + 5] ^= 1
        path.write_bytes(content)
        store = PixelStore(folder, COUNT)
        assert_holds(store, range(1))
        assert store.read(1) is None
        assert_holds(store, range(2, 20))
        store.add(1, picture(1))
        assert_holds(store, range(20))

    def test_a_file_that_is_cut_short_loses_what_was_beyond(self, folder) -> None:
        path = self.file(folder, "pixels")
        os.truncate(path, path.stat().st_size - 1)
        store = PixelStore(folder, COUNT)
        assert store.shape(19) is None
        assert_holds(store, range(19))

    def test_a_file_that_is_cut_short_while_it_is_read_loses_it_too(self, folder) -> None:
        store = PixelStore(folder, COUNT)
        assert_holds(store, range(20))
        os.truncate(self.file(folder, "pixels"), picture(0).nbytes)
        assert_holds(store, range(1))
        assert store.read(1) is None
        assert store.shape(1) is None

    @pytest.mark.parametrize("left", [0, 1, 47, 49])
    def test_of_part_of_a_record_nothing_is_read(self, folder, left: int) -> None:
        os.truncate(self.file(folder, "index"), left)
        assert len(PixelStore(folder, COUNT)) == left // 40

    def test_records_of_anybodys_making_are_passed_over(self, folder) -> None:
        random = np.random.default_rng(0)
        index = self.file(folder, "index")
        with index.open("ab") as file:
            file.write(random.integers(0, 256, 40 * 200, dtype=np.uint8).tobytes())
        store = PixelStore(folder, COUNT)
        assert len(store) == 20
        assert_holds(store, range(20))

    def test_files_that_are_gone_are_not_there(self, folder) -> None:
        store = PixelStore(folder, COUNT)
        self.file(folder, "pixels").unlink()
        assert store.read(3) is None
        assert len(PixelStore(folder, COUNT)) == 0

    def test_a_set_of_fewer_pictures_takes_no_more(self, folder) -> None:
        assert len(PixelStore(folder, 5)) == 5


def test_a_page_that_was_never_written_shows_in_the_checksum() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 65, 3), dtype=np.uint8)
    torn = pixels.copy()
    torn.reshape(-1)[4096:8192] = 0
    assert checksum(torn) != checksum(pixels)
    # By hand: eight bytes of one are one word, and the ninth is added as it is.
    assert checksum(np.ones((9, 1, 1), np.uint8)) == 0x0101010101010101 + 1


def test_what_cannot_be_written_is_told_and_not_there(tmp_path: Path) -> None:
    store = PixelStore(tmp_path, COUNT)
    store.add(0, picture(0))
    store._own.close()
    with pytest.raises(OSError):
        store.add(1, picture(1))
    store._own = None
    assert store.shape(1) is None
    assert_holds(PixelStore(tmp_path, COUNT), range(1))
