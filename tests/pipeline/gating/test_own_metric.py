"""A metric of one's own, as exports left it of bundles, without its code."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundation.files import write_json
from foundation.metric_values import MetricValues
from foundation.records import as_dict
from pipeline.gating.metrics import Figure, Missing
from pipeline.gating.own_metric import OwnValues, own_drop_reading
from pipeline.recipe.sections.recipe import Recipe
from pipeline.run_folder.folder import METRIC_VALUES, start_run


@pytest.fixture
def kept(tmp_path: Path):
    """What a metric says of a bundle b, in a run folder."""

    def keep(name: str, **values: float) -> OwnValues:
        run = start_run(tmp_path / name, Recipe())
        path, drawn = run.findings / "b" / METRIC_VALUES, {k: [v, v] for k, v in values.items()}
        path.parent.mkdir(parents=True)
        write_json(path, as_dict(MetricValues("mine:f", "mine:f 1", 4, "0" * 64, values, drawn)))
        with run.step("export") as step:
            step.products = [path]
        return OwnValues([run])

    return keep


def test_a_value_that_the_reference_lacks_is_not_measured(kept) -> None:
    """A metric may give a value by class, of the classes that were named at all."""
    now, before = kept("now", all=1.0, cat=0.5), kept("before", all=2.0)
    reading = own_drop_reading("metric.cat", "b", "b", now, before)
    assert isinstance(reading.figure, Missing)
    assert "gave no cat of b" in reading.figure.reason
    of_all = own_drop_reading("metric.all", "b", "b", now, before)
    assert isinstance(of_all.figure, Figure) and of_all.figure.value == 1.0
