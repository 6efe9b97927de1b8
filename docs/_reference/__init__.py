"""The reference, written from the code whenever the site is built: `docs/reference/`, which git
passes over. A new kind of page is a new file here, with a function that gives pages by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _reference import api, catalogue, commands, exit_codes, recipe, root_pages, schemas

FOLDER = Path(__file__).parents[1] / "reference"

Pages = dict[str, str]
WRITERS: tuple[Callable[[], Pages], ...] = (
    commands.pages,
    recipe.pages,
    catalogue.pages,
    exit_codes.pages,
    schemas.pages,
    api.pages,
    root_pages.pages,
)


def pages() -> Pages:
    """All pages of the reference, by their paths in it."""
    return {name: text for writer in WRITERS for name, text in writer().items()}


def write(folder: Path = FOLDER) -> None:
    """Write the reference anew; a page that is the same keeps its date, and is not built again."""
    wanted = {folder / name: text for name, text in pages().items()}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    schemas.copy_files(folder / "schemas", shutil.copyfile)


def setup(app: Any) -> dict[str, Any]:
    """Sphinx asks for this: the pages are written before it looks for them."""
    app.connect("config-inited", lambda _app, _config: write())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
