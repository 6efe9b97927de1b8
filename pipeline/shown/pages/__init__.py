"""What all pages share: template environments, one style sheet, one hand for the plots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foundation.markdown import escaped
from foundation.words import one_line


def html_templates_of(package: str) -> Environment:
    """The templates of a package for HTML, which may include those here (`style.css`).

    Args:
        package: dotted name, such as "pipeline.report".
    """
    return _environment(package, finalize=lambda value: _shown(value, one_line))


def markdown_templates_of(package: str) -> Environment:
    """The templates of a package for Markdown: whatever they show is escaped for it."""
    templates = _environment(package, finalize=lambda value: _shown(value, _as_markdown))
    templates.filters["cell"] = lambda value: _as_markdown(str(value))
    return templates


def _environment(package: str, finalize: Callable[[Any], Any]) -> Environment:
    return Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, "."), PackageLoader("pipeline.shown.pages", ".")]
        ),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
    )


def _shown(value: Any, show: Callable[[str], str]) -> Any:
    """Text as it is shown; what was made for the page, and numbers, as they are."""
    return show(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _as_markdown(text: str) -> Markup:
    # A string that the templates' own escaping, which is for HTML, leaves alone.
    return Markup(escaped(text))
