"""One thing, one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("foundation", "smskd", "export", "deploy_targets", "pipeline")


def homes_of_classes(root: Path) -> dict[str, list[str]]:
    """Where each public class is defined, by its name."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for path in (path for package in PACKAGES for path in (root / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(path.relative_to(root).as_posix())
    return homes


def test_no_two_public_classes_share_a_name() -> None:
    homes = homes_of_classes(ROOT)
    assert len(homes) > 200
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_two_that_do_are_found(tmp_path: Path) -> None:
    for package in ("foundation", "smskd"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("class Same: ...\nclass _Own: ...\n")
    assert homes_of_classes(tmp_path) == {"Same": ["foundation/a.py", "smskd/a.py"]}
