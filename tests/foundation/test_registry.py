from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foundation.errors import UnknownNameError
from foundation.registry import Registry

Package = Callable[..., Registry[object]]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Makes a package with a registry and a module per file named, and gives its registry."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def make(**files: str) -> Registry[object]:
        folder = tmp_path / "beasts"
        folder.mkdir()
        (folder / "__init__.py").write_text(
            "from foundation.registry import Registry\nBEASTS = Registry('beast', 'beasts')\n"
        )
        for name, content in files.items():
            (folder / f"{name}.py").write_text(f"from beasts import BEASTS\n{content}\n")
        __import__("beasts")
        registry: Registry[object] = sys.modules["beasts"].BEASTS
        return registry

    yield make
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "beasts":
            del sys.modules[name]


def entry(name: str, value: str = "object()") -> str:
    return f"BEASTS.register({name!r})({value})"


def test_a_new_file_in_the_package_is_a_new_entry(package: Package) -> None:
    registry = package(cats=entry("cat", "'purrs'"), dogs=entry("dog", "'barks'"))
    assert registry.names() == ["cat", "dog"]
    assert registry.get("cat") == "purrs"
    assert registry.items() == [("cat", "purrs"), ("dog", "barks")]


def test_no_file_is_imported_before_the_registry_is_asked(package: Package) -> None:
    registry = package(cats=entry("cat"))
    assert "beasts.cats" not in sys.modules
    registry.names()
    assert "beasts.cats" in sys.modules


def test_a_private_file_is_left_alone(package: Package) -> None:
    assert package(cats=entry("cat"), _shared="raise RuntimeError").names() == ["cat"]


def test_an_entry_registered_by_hand_stands_beside_the_files(package: Package) -> None:
    registry = package(cats=entry("cat"))

    @registry.register("eel")
    def eel() -> None:
        """An entry."""

    assert registry.names() == ["cat", "eel"]
    assert registry.get("eel") is eel


def test_two_entries_cannot_have_one_name(package: Package) -> None:
    registry = package(cats=entry("cat", "'first'"), lions=entry("cat", "'second'"))
    with pytest.raises(ValueError, match="two entries claim the beast name 'cat'"):
        registry.names()


def test_the_same_entry_may_register_twice(package: Package) -> None:
    registry = package()
    registry.register("cat")(cat := object())
    registry.register("cat")(cat)
    assert registry.names() == ["cat"]


def test_an_unknown_name_brings_up_its_place_the_nearest_and_all(package: Package) -> None:
    registry = package(cats=entry("cat"), dogs=entry("dog"))
    with pytest.raises(UnknownNameError) as caught:
        registry.get("cta", where="zoo.toml: cage")
    assert str(caught.value) == (
        "zoo.toml: cage: unknown beast 'cta', did you mean 'cat'? Known: cat, dog"
    )


def test_numbers_in_names_count_as_numbers(package: Package) -> None:
    names = ["resnet20", "resnet8", "resnet110", "mobilenet", "resnet", "8bit", "resnet8x4"]
    registry = package(all="\n".join(map(entry, names)))
    assert registry.names() == [
        "8bit", "mobilenet", "resnet", "resnet8", "resnet8x4", "resnet20", "resnet110",
    ]  # fmt: skip


def test_one_module_can_be_a_whole_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lone_beasts.py").write_text(
        "from foundation.registry import Registry\n"
        "BEASTS = Registry('beast', 'lone_beasts')\n" + entry("yeti", "'lives alone'")
    )
    import lone_beasts  # noqa: PLC0415

    assert lone_beasts.BEASTS.items() == [("yeti", "lives alone")]
    monkeypatch.delitem(sys.modules, "lone_beasts")


def test_another_distribution_adds_its_own_through_an_entry_point(
    package: Package, tmp_path: Path
) -> None:
    registry = package(cats=entry("cat"))
    (tmp_path / "menagerie.py").write_text(f"from beasts import BEASTS\n{entry('okapi')}\n")
    facts = tmp_path / "menagerie-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: menagerie\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[beasts]\nokapi = menagerie\n")
    assert registry.names() == ["cat", "okapi"]


def test_threads_that_ask_at_once_all_find_what_is_there(package: Package) -> None:
    registry = package(cat="import time; time.sleep(0.2)\n" + entry("cat"))
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(registry.names())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["cat"]] * 4
