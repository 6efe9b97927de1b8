"""A page of points that are no run's bundles, such as the trials of a search."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.front import FrontPoint, front_data, front_table
from pipeline.shown.pages import html_templates_of
from pipeline.shown.pages.plots import plotting_script, script_data


def render_points(
    title: str, points: Sequence[FrontPoint], lines: Sequence[str], notes: Sequence[str] = ()
) -> str:
    """The page, self-contained; see `pipeline.report.write.write_points`."""
    page = html_templates_of("pipeline.report").get_template("points.html.j2")
    return page.render(
        title=title,
        points=points,
        shipped=next((point for point in points if point.ships), None),
        counts={place: sum(p.place == place for p in points) for place in ("on", "tied", "off")},
        lines=lines,
        notes=notes,
        front_table=front_table(points),
        page_data=script_data({"plots": {}, "front": front_data(points)}),
        plotting_script=plotting_script(),
    )
