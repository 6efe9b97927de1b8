"""The course of a training, in files that the tools themselves read back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foundation.errors import UsageError
from pipeline.cli import app
from pipeline.recipe.file import load_recipe
from pipeline.run_folder.folder import RunFolder, start_run
from pipeline.training.course import course_logs
from pipeline.training.prepare import TrainingData, prepare
from pipeline.training.steps import teach
from smskd.listening import Listener

DISTILL = [
    "distill", "--data", "folder:photos", "--teacher", "resnet8", "--student", "resnet8",
    "--stages", "at,kd", "--epochs", "2", "--teacher-epochs", "2", "--run", "runs/x",
]  # fmt: skip
TRAININGS = {"teacher": "teacher", "1-at": "stages/1-at", "2-kd": "stages/2-kd"}


@pytest.fixture(autouse=True)
def here(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def distilled(*words: str) -> RunFolder:
    said = CliRunner().invoke(app, [*DISTILL, *words])
    assert said.exit_code == 0, (said.output, said.exception)
    return RunFolder(Path("runs/x"))


def history(run: RunFolder, training: str) -> list[dict[str, Any]]:
    path = run.path / TRAININGS[training] / "metrics.json"
    return json.loads(path.read_text())["history"]


def events(run: RunFolder, training: str) -> dict[str, list[tuple[int, float]]]:
    """Step and value of each scalar, by its tag, as TensorBoard reads them."""
    module = "tensorboard.backend.event_processing.event_accumulator"
    reader = pytest.importorskip(module).EventAccumulator(
        str(run.path / "logs/tensorboard" / training)
    )
    reader.Reload()
    return {
        tag: [(event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def store(run: RunFolder) -> Any:
    """MLflow's client on the store in the run folder."""
    mlflow = pytest.importorskip("mlflow")
    return mlflow.MlflowClient(tracking_uri=(run.path.absolute() / "logs/mlflow").as_uri())


def test_tensorboard_has_every_epoch_of_every_training() -> None:
    pytest.importorskip("tensorboard")
    run = distilled("--log", "tensorboard")
    for training in TRAININGS:
        records, scalars = history(run, training), events(run, training)
        for name, value in records[0]["losses"].items():
            assert scalars[f"losses/{name}"][0] == (1, pytest.approx(value, rel=1e-6))
        for tag, key in (("learning_rate", "lr"), ("validation/top1", "val_top1")):
            expected = [(r["epoch"], pytest.approx(r[key], rel=1e-6)) for r in records]
            assert scalars[tag] == expected
    assert {path.name for path in (run.path / "logs/tensorboard").iterdir()} == {
        *TRAININGS,
        "recipe",
    }


def test_tensorboard_has_the_recipe_as_hyperparameters() -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.plugins.hparams import plugin_data_pb2  # noqa: PLC0415

    run = distilled("--log", "tensorboard")
    module = "tensorboard.backend.event_processing.event_accumulator"
    reader = pytest.importorskip(module).EventAccumulator(str(run.path / "logs/tensorboard/recipe"))
    reader.Reload()
    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["student.model"].string_value == "resnet8"
    assert given["stages.1.methods.0.name"].string_value == "kd"
    assert given["stages.0.epochs"].number_value == 2


def test_mlflow_has_every_epoch_and_the_recipe() -> None:
    pytest.importorskip("mlflow")
    run = distilled("--log", "mlflow")
    client = store(run)
    noted = json.loads((run.path / "logs/mlflow.json").read_text())
    kept = client.get_run(noted["run_id"])
    assert kept.info.status == "FINISHED"
    assert kept.data.params["student.model"] == "resnet8"
    assert kept.data.params["stages.0.epochs"] == "2"
    for training in TRAININGS:
        records = history(run, training)
        for tag, key in (("learning_rate", "lr"), ("validation/top1", "val_top1")):
            metrics = client.get_metric_history(kept.info.run_id, f"{training}/{tag}")
            assert [(m.step, m.value) for m in metrics] == [(r["epoch"], r[key]) for r in records]


class Stops(Listener):
    """Somebody who presses Ctrl-C when an epoch is told, before it is saved."""

    def epoch_done(self, record: dict[str, Any]) -> None:
        if record["epoch"] == 2:
            raise KeyboardInterrupt


def test_a_run_that_goes_on_goes_on_in_the_same_log_with_each_epoch_once() -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("tensorboard")
    keys = {
        "data.name": "folder:photos", "teacher.model": "resnet8", "student.model": "resnet8",
        "teacher.training.epochs": 4, "engine.log": ["tensorboard", "mlflow"],
    }  # fmt: skip
    file = load_recipe(None, keys)
    run, data = start_run(Path("runs/x"), file.recipe), TrainingData(file)
    prepare(run, data)
    with pytest.raises(KeyboardInterrupt), course_logs(run, file) as logs:
        teach(run, data, logs.listener(Stops(), "teacher"))
    assert [step for step, _ in events(run, "teacher")["learning_rate"]] == [1, 2]
    (before,) = _runs_of(store(run))
    assert before.info.status == "FAILED"

    # TensorBoard puts files in order by the second that stands in their names.
    time.sleep(1.1)
    with course_logs(run, file) as logs:
        teach(run, data, logs.listener(Listener(), "teacher"))
    records = history(run, "teacher")
    for tag, key in (("learning_rate", "lr"), ("validation/top1", "val_top1")):
        expected = [(r["epoch"], pytest.approx(r[key], rel=1e-6)) for r in records]
        assert events(run, "teacher")[tag] == expected
    (after,) = _runs_of(store(run))
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    metrics = store(run).get_metric_history(after.info.run_id, "teacher/losses/loss")
    assert [(m.step, m.value) for m in metrics] == [
        (r["epoch"], pytest.approx(r["losses"]["loss"])) for r in records
    ]


def _runs_of(client: Any) -> list[Any]:
    experiments = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(experiments))


def test_what_is_not_installed_is_told_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.training.course.find_spec", lambda _name: None)
    said = CliRunner().invoke(app, [*DISTILL, "--log", "tensorboard"])
    assert isinstance(said.exception, UsageError)
    assert "pip install 'edge-compress[tensorboard]'" in str(said.exception)
    assert not Path("runs").exists()


def test_a_place_where_mlflow_can_keep_nothing_is_one_line() -> None:
    pytest.importorskip("mlflow")
    said = CliRunner().invoke(
        app, [*DISTILL, "--log", "mlflow", "--set", 'engine.log_to="nowhere://x"']
    )
    assert isinstance(said.exception, UsageError)
    assert "nowhere://x" in str(said.exception) and "\n" not in str(said.exception)


def test_a_log_may_be_asked_for_and_left_out_in_the_same_run_folder() -> None:
    pytest.importorskip("tensorboard")
    run = distilled()
    assert distilled("--log", "tensorboard").path == run.path
    assert not (run.path / "logs").exists()  # nothing was trained any more
