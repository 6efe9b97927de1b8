"""Studies on the workers of a real Dask scheduler: the same figures, whatever is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studies import PATIENCE_S, begun, is_gone, timeless

from foundation.errors import HostError, MissingFileError, RecipeError, UsageError
from pipeline.recipe.file import load_recipe
from pipeline.study.cluster import Cluster, address_of, claim_of
from pipeline.study.folder import StudyFolder
from pipeline.study.on_worker import Surroundings, _Gpus, software
from pipeline.study.tasks import Task

pytest.importorskip("distributed")

COMMANDS = Path(sys.executable).parent
LOCAL = ("--host", "127.0.0.1", "--no-dashboard")
QUICK = ("--seeds", "1", "--set", "study.scheduler_wait=60", "--log-file", "study.log")


@contextmanager
def running(command: list[Any], environment: dict[str, str], log: Path) -> Iterator[None]:
    """A program of Dask's, and all that it started, for as long as the block lasts."""
    with log.open("w") as said:
        process = subprocess.Popen(
            command, env=environment, stdout=said, stderr=said, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def scheduling(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A scheduler without workers: the file that it writes."""
    file = folder / "scheduler.json"
    command = [COMMANDS / "dask", "scheduler", *LOCAL, "--port", "0", "--scheduler-file", file]
    with running(command, environment, folder / "scheduler.log"):
        wait_for(file)
        yield file


def worker(file: Path, *more: Any) -> list[Any]:
    command = [COMMANDS / "dask", "worker", "--scheduler-file", file, *LOCAL, "--nthreads", "1"]
    return [*command, "--local-directory", file.parent / "workers", *more]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory, doomed: dict[str, str]) -> Iterator[Path]:
    """The file of a scheduler with two workers, each of which a nanny begins again. They claim to
    have two GPUs each, which the tasks take, and do without."""
    folder = tmp_path_factory.mktemp("dask")
    with ExitStack() as stack:
        file = stack.enter_context(scheduling(folder, doomed))
        two = worker(file, "--nworkers", "2", "--resources", "GPU=2")
        stack.enter_context(running(two, doomed, folder / "worker.log"))
        yield file


@pytest.fixture
def started(small: str, doomed: dict[str, str], tmp_path: Path):
    """Starts the study in `tmp_path` on a scheduler's workers."""
    (tmp_path / "small.toml").write_text(small)

    def start(scheduler: Path, *more: str) -> subprocess.Popen[str]:
        (tmp_path / "study.log").unlink(missing_ok=True)
        return subprocess.Popen(
            [COMMANDS / "compress", "study", "small.toml", *QUICK, *more, "--json",
             "--scheduler", scheduler],
            cwd=tmp_path, env={**doomed, "COLUMNS": "200", "TERM": "dumb"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def parent_of(number: int) -> int:
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_whatever_is_killed_the_figures_are_those_of_a_study_here(
    study, scheduler: Path, started, tmp_path: Path
) -> None:
    """The command itself, then the worker that the teacher is trained by, then an arm's process."""
    log = tmp_path / "study.log"
    command = started(scheduler)
    left = begun(log, "teacher, seed 0", command)
    command.kill()
    command.communicate()
    assert is_gone(left)  # nobody waits for it any more

    command = started(scheduler)
    os.kill(parent_of(begun(log, "teacher, seed 0", command)), signal.SIGKILL)
    os.kill(begun(log, "smskd-tcp, seed 0", command), signal.SIGKILL)
    out, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 0, err
    assert "teacher, seed 0: begun again: its worker was lost" in err
    assert "smskd-tcp, seed 0: begun again: its process was killed by SIGKILL" in err
    assert "distributed" not in err and "Traceback" not in err
    found = json.loads(out)["arms"]
    for name, arm in study.found["arms"].items():
        assert timeless(found[name]["runs"]) == timeless(arm["runs"][:1])
    assert not list((tmp_path / "runs/small").glob(".seen*"))
    assert "smskd.training.loop: stage kd: epoch 1" in log.read_text()  # of a worker


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_ctrl_c_takes_back_what_was_given_to_the_scheduler(
    scheduler: Path, started, tmp_path: Path
) -> None:
    command = started(scheduler, "--set", "engine.accelerator=cpu")
    teacher = begun(tmp_path / "study.log", "teacher, seed 0", command)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130, err
    assert "Traceback" not in err
    assert is_gone(teacher)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_scheduler_that_is_lost_ends_it_in_a_line_and_the_workers_task_too(
    started, doomed: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "dask").mkdir()
    with ExitStack() as stack:
        with scheduling(tmp_path / "dask", doomed) as file:
            stack.enter_context(running(worker(file), doomed, tmp_path / "worker.log"))
            command = started(file)
            teacher = begun(tmp_path / "study.log", "teacher, seed 0", command)
        _, err = command.communicate(timeout=PATIENCE_S)
        assert command.returncode == HostError.exit_code, err
        last = err.splitlines()[-1]
        assert last.startswith("error: the Dask scheduler at tcp://127.0.0.1:")
        assert "is gone; what was finished is kept" in last and "Traceback" not in err
        assert is_gone(teacher)


def asked(scheduler: str, wait: float = 60.0) -> Any:
    settings = {"study.scheduler": scheduler, "study.scheduler_wait": wait, "study.seeds": 1}
    return load_recipe(None, settings).recipe


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    (tmp_path / "study").mkdir()
    return StudyFolder(tmp_path / "study", tmp_path / "study/teachers")


def test_a_scheduler_that_does_not_answer_is_told_of_in_time(folder: StudyFolder) -> None:
    began = time.monotonic()
    with pytest.raises(HostError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        Cluster(asked("tcp://127.0.0.1:9", wait=1), folder)
    assert time.monotonic() - began < 30


def test_a_scheduler_without_workers_is_told_of_in_time(
    folder: StudyFolder, doomed: dict[str, str], tmp_path: Path
) -> None:
    with (
        scheduling(tmp_path, doomed) as file,
        pytest.raises(HostError, match=r"has had no worker for 2 s; start some \(`dask"),
    ):
        Cluster(asked(str(file), wait=2), folder)
    assert not list(folder.path.glob(".*"))


def test_a_worker_that_does_not_see_the_folder_is_named(
    folder: StudyFolder, doomed: dict[str, str], tmp_path: Path
) -> None:
    """On its machine there is such a folder, with nothing in it."""
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && "$@"', folder.path]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("a worker cannot be given another view of the disk here: that needs root")
    with scheduling(tmp_path, doomed) as file:
        blind = running([*inside, *worker(file)], doomed, tmp_path / "blind.log")
        with blind, pytest.raises(HostError) as caught:
            Cluster(asked(str(file)), folder)
    assert str(caught.value).startswith("Dask worker tcp://127.0.0.1:")
    assert f"it does not see {folder.teachers}; the study's folder" in str(caught.value)


def test_another_version_or_another_code_is_told_of(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch()
    alike = Surroundings(tmp_path, tmp_path, token, software(), ())
    assert alike.problem_here() is None
    other = replace(alike, software={**software(), "torch": "1.0"})
    assert "torch is " in other.problem_here() and "1.0 here" in other.problem_here()
    assert "the code of edge-compress" in software()
    for place in ("folder", "teachers"):
        gone = replace(alike, **{place: tmp_path / "none"})
        assert f"it does not see {tmp_path / 'none'}; the study's" in gone.problem_here()


def test_without_dask_it_is_said_what_to_install(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'edge-compress\[cluster\]'"):
        Cluster(asked("tcp://127.0.0.1:9"), folder)


def test_a_schedulers_file_must_be_one(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    with pytest.raises(MissingFileError, match="a scheduler writes it"):
        address_of(str(path))
    path.write_text("[]")
    with pytest.raises(RecipeError, match="no address stands in it"):
        address_of(str(path))
    path.write_text('{"address": "tls://there:1"}')
    assert address_of(str(path)) == "tls://there:1"


@pytest.mark.parametrize(
    ("accelerator", "resources", "claim"),
    [
        ("auto", [{}, {}], {}),
        ("auto", [{}, {"GPU": 1}], {"GPU": 1}),
        ("cuda", [{"GPU": 4, "CPU": 8}], {"GPU": 1}),
        ("cpu", [{"GPU": 4, "CPU": 8}], {"CPU": 3}),
        ("cpu", [{"GPU": 4}], {}),
    ],
)
def test_a_task_takes_a_gpu_or_as_many_cpus_as_it_has_threads(
    folder: StudyFolder,
    accelerator: str,
    resources: list[dict[str, float]],
    claim: dict[str, float],
) -> None:
    file = load_recipe(None, {"engine.accelerator": accelerator, "study.threads": 3})
    workers = {str(number): {"resources": one} for number, one in enumerate(resources)}
    assert claim_of(Task(file, folder, None, 0), workers) == claim
    few = {"one": {"resources": {"CPU": 2}}}
    with pytest.raises(HostError, match="has 3 threads, but no Dask worker has more than CPU=2"):
        claim_of(Task(file, folder, None, 0), few)


def test_two_tasks_of_a_worker_never_have_the_same_gpu() -> None:
    gpus, met = _Gpus(["4", "7"]), threading.Barrier(2)
    taken: list[str | None] = []

    def take() -> None:
        with gpus.one() as gpu:
            met.wait(timeout=PATIENCE_S)
            taken.append(gpu)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, taken)) == ["4", "7"]
    with _Gpus([]).one() as gpu:
        assert gpu is None
