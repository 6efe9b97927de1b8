"""What all pages share: one template environment, one style sheet, one hand for the plots."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def templates_of(package: str, *, autoescape: bool) -> Environment:
    """The templates of a package, which may include those here (`style.css`).

    Args:
        package: dotted name, such as "pipeline.report".
        autoescape: for HTML.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("pipeline.pages", ".")]),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
