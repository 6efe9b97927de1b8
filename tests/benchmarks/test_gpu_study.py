from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import gpu_study
import numpy as np
import pytest
import torch
from device_images import DeviceImages
from PIL import Image
from side_by_side import Lane, Run, autocast_for
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from foundation.bundle import Preprocessing
from foundation.errors import CorruptFileError, RunMismatchError, UnknownNameError
from pipeline.data.augment import augmented
from pipeline.data.batches import TrainBatches
from pipeline.data.images import ArrayImages
from pipeline.models import build_model
from pipeline.recipe.sections.data import AugmentRecipe
from pipeline.study.arms import Arm
from smskd import Engine, distill, train_alone
from smskd.checkpoints.files import load_tensors
from smskd.pair import make_pair

CPU = torch.device("cpu")
CLASSES, SIZE, IMAGES, BATCH = 4, 8, 48, 12
SHAPE = Preprocessing(SIZE, SIZE, 3, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
SHIFT = 2
SMALL = [
    "--epochs=2", "--teacher-epochs=1", "--batch-size=12", "--image-size=8",
    "--teacher-model=resnet8", "--student-model=resnet8", "--device=cpu",
]  # fmt: skip

ARMS_WITHOUT_LEARNT_PARTS = [
    "alone", "at", "kd", "simultaneous",
    "smskd-none", "smskd-constant", "smskd-inverse-tcp", "smskd-tcp",
]  # fmt: skip
WAITING = {
    f"aten.{name}.default"
    for name in ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal")
}

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of CUDA")

State = dict[str, Tensor]


class _Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes note of what torch is asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


def drawn_images(seed: int = 0, count: int = IMAGES) -> ArrayImages:
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    pixels = random.integers(0, 255, (count, SIZE, SIZE, 3), np.uint8)
    pixels[np.arange(count), labels] = 255
    return ArrayImages(pixels, labels)


def on_device(images: ArrayImages, device: torch.device = CPU) -> DeviceImages:
    return DeviceImages(images.pixels, images.labels, SHAPE, device, shift=SHIFT, flip=True)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Engine().place(build_model("resnet8", CLASSES, 3), CPU)


def arms(epochs: int, *names: str) -> dict[str, Arm]:
    asked = gpu_study.parsed(["--data=.", "--out=.", f"--epochs={epochs}"])
    return gpu_study.arms_of(gpu_study.recipe_of(asked), names)


def lane_of(
    folder: Path,
    chosen: dict[str, Arm],
    seed: int = 0,
    *,
    device: torch.device = CPU,
    graphs: bool = True,
    precision: str = "fp32",
    fingerprint: str = "one",
) -> Lane:
    teacher = network(100).eval().requires_grad_(False).to(device)
    autocast, runs = autocast_for(device, precision), {}
    for name, arm in chosen.items():
        student = network(seed).to(device)
        pair = make_pair(student, teacher, torch.zeros(2, 3, SIZE, SIZE, device=device))
        runs[name] = Run(arm.stages, pair.student, pair, autocast)
    return Lane(
        seed,
        on_device(drawn_images(), device),
        pair.teacher,
        runs,
        batch_size=BATCH,
        autocast=autocast,
        folder=folder,
        fingerprint=fingerprint,
        graphs=graphs,
    )


def trained(lane: Lane) -> dict[str, State]:
    while not lane.finished:
        lane.advance()
    lane.wait()
    return {name: deepcopy(run.student.model.state_dict()) for name, run in lane.runs.items()}


def assert_same(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


class TestDeviceImages:
    def test_a_view_is_the_window_of_the_padded_image_mirrored_if_drawn_so(self) -> None:
        pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
        plain = Preprocessing(2, 2, 3, [0.0] * 3, [1 / 255] * 3)
        images = DeviceImages(pixels, np.zeros(1, np.int64), plain, CPU, shift=1, flip=True)
        ids = torch.zeros(4, dtype=torch.int64)
        # The image begins at (1, 1) of the padded one; a window further down shows lower rows.
        draws = torch.tensor([[1, 1, 0], [1, 1, 1], [2, 1, 0], [0, 2, 1]])
        red = images.views(ids, draws)[:, 0].round().int().tolist()
        assert red == [
            [[0, 3], [6, 9]],
            [[3, 0], [9, 6]],
            [[6, 9], [0, 0]],
            [[0, 0], [0, 3]],
        ]

    def test_views_are_those_of_ordinary_training(self) -> None:
        images, ids = drawn_images(), np.array([5, 0, 17, 41, 2])
        device = on_device(images)
        draws = device.draws(3, 7)
        recipe = AugmentRecipe(shift=SHIFT, flip=True)
        expected = augmented(images.read(ids), ids, 3, 7, recipe).transpose(0, 3, 1, 2) / 255
        mean, std = (np.reshape(values, (3, 1, 1)) for values in (SHAPE.mean, SHAPE.std))
        views = device.views(torch.from_numpy(ids), draws[ids])
        normalised = torch.from_numpy((expected - mean) / std).float()
        torch.testing.assert_close(views, normalised, rtol=1e-4, atol=1e-6)
        flips, tops = draws[:, 2], draws[:, 0]
        assert set(flips.tolist()) == {0, 1} and set(tops.tolist()) == set(range(2 * SHIFT + 1))

    def test_without_flip_nothing_is_mirrored_and_evaluation_sees_images_as_they_are(self) -> None:
        images = drawn_images()
        still = DeviceImages(images.pixels, images.labels, SHAPE, CPU, shift=SHIFT)
        assert not still.draws(0, 0)[:, 2].any()
        ((seen, labels),) = on_device(images).as_they_are()
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (SHAPE.mean, SHAPE.std))
        expected = (torch.from_numpy(images.pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        torch.testing.assert_close(seen, expected)
        assert labels.tolist() == images.labels.tolist()


class TestLane:
    def test_every_arm_ends_as_ordinary_training_does(self, tmp_path: Path) -> None:
        chosen = arms(2, "alone", "kd", "simultaneous", "smskd-tcp", "smskd-none")
        here = trained(lane_of(tmp_path / "lane", chosen))
        batches = TrainBatches(
            drawn_images(), SHAPE, AugmentRecipe(shift=SHIFT, flip=True), BATCH, 0
        )
        for name, arm in chosen.items():
            student, folder = network(0), tmp_path / name
            if arm.stages[0].methods:
                distill(network(100), student, batches, arm.stages, folder, engine=Engine("cpu"))
            else:
                train_alone(student, batches, arm.stages[0], folder, engine=Engine("cpu"))
            for key, tensor in student.state_dict().items():
                torch.testing.assert_close(here[name][key], tensor, msg=f"{name} {key}")
        # What the arms differ in shows: they are no copies of one another.
        heads = [state["fc.weight"] for state in here.values()]
        assert all(
            not torch.allclose(a, b, atol=1e-5) for n, a in enumerate(heads) for b in heads[:n]
        )

    def test_in_bf16_too(self, tmp_path: Path) -> None:
        chosen = arms(2, "smskd-tcp")
        here = trained(lane_of(tmp_path / "lane", chosen, precision="bf16"))["smskd-tcp"]
        full = trained(lane_of(tmp_path / "full", chosen))["smskd-tcp"]
        student, engine = network(0), Engine("cpu", precision="bf16")
        batches = TrainBatches(
            drawn_images(), SHAPE, AugmentRecipe(shift=SHIFT, flip=True), BATCH, 0
        )
        stages = chosen["smskd-tcp"].stages
        distill(network(100), student, batches, stages, tmp_path / "ordinary", engine=engine)
        for key, tensor in student.state_dict().items():
            torch.testing.assert_close(here[key], tensor, msg=key)
        assert not torch.equal(here["fc.weight"], full["fc.weight"])

    def test_a_step_never_waits_for_a_value_on_the_device(self, tmp_path: Path) -> None:
        """Where it did, it could not be captured: no GPU is needed to see that."""
        lane = lane_of(tmp_path, arms(2, *ARMS_WITHOUT_LEARNT_PARTS))
        for _ in range(lane.steps_per_epoch + 1):
            lane.advance()
        with _Calls() as calls:
            lane._step()
        assert "aten._fused_sgd_.tensor_lr" in calls.names
        assert not calls.names & WAITING, calls.names & WAITING

    def test_a_run_beside_others_ends_as_it_does_by_itself(self, tmp_path: Path) -> None:
        chosen = arms(2, "kd", "smskd-tcp")
        lanes = [lane_of(tmp_path / f"{seed}", chosen, seed) for seed in (0, 1)]
        while not all(lane.finished for lane in lanes):
            for lane in lanes:
                lane.advance()
        alone = trained(lane_of(tmp_path / "alone", {"smskd-tcp": chosen["smskd-tcp"]}, 1))
        assert_same(lanes[1].runs["smskd-tcp"].student.model.state_dict(), alone["smskd-tcp"])

    # Within the first stage, at its very end, and within the second; four steps are an epoch.
    @pytest.mark.parametrize("left_after", [2, 4, 6])
    def test_it_goes_on_where_it_was_left(self, tmp_path: Path, left_after: int) -> None:
        chosen = arms(2, "smskd-tcp")
        whole = trained(lane_of(tmp_path / "whole", chosen))
        lane = lane_of(tmp_path / "left", chosen)
        for _ in range(left_after):
            lane.advance()
        lane.save()
        lane.advance()  # what is not saved is lost
        again = lane_of(tmp_path / "left", chosen)
        assert again.done == left_after
        assert_same(trained(again)["smskd-tcp"], whole["smskd-tcp"])

    def test_what_was_begun_otherwise_is_not_gone_on_with(self, tmp_path: Path) -> None:
        lane = lane_of(tmp_path, arms(2, "kd"))
        lane.advance()
        lane.save()
        with pytest.raises(RunMismatchError, match="other data, another teacher or other settings"):
            lane_of(tmp_path, arms(2, "kd"), fingerprint="another")
        with pytest.raises(RunMismatchError, match="begun with the arms kd"):
            lane_of(tmp_path, arms(2, "alone"))
        (tmp_path / "state.json").write_text("{}")
        with pytest.raises(CorruptFileError, match="where a lane was left"):
            lane_of(tmp_path, arms(2, "kd"))

    def test_where_capturing_fails_steps_go_on_plainly(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        chosen = arms(2, "smskd-tcp")
        lane = lane_of(tmp_path / "failing", chosen)
        lane._captures = not torch.cuda.is_available()  # without a GPU there is no graph to be had
        state = trained(lane)["smskd-tcp"]
        assert_same(state, trained(lane_of(tmp_path / "plain", chosen))["smskd-tcp"])
        if not torch.cuda.is_available():
            assert "seed 0: plain steps, for capturing failed: " in capsys.readouterr().err

    @needs_gpu
    def test_replayed_side_by_side_steps_are_the_plain_ones_one_by_one(
        self, tmp_path: Path
    ) -> None:
        chosen, gpu = arms(4, "kd", "simultaneous", "smskd-tcp"), torch.device("cuda")
        with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
            lanes = [lane_of(tmp_path / f"{s}", chosen, s, device=gpu) for s in (0, 1)]
            while not all(lane.finished for lane in lanes):
                for lane in lanes:
                    lane.advance()
            for lane in lanes:
                lane.wait()
                folder = tmp_path / f"plain-{lane.seed}"
                plain = trained(lane_of(folder, chosen, lane.seed, device=gpu, graphs=False))
                for name, run in lane.runs.items():
                    for key, tensor in run.student.model.state_dict().items():
                        expected = plain[name][key]
                        torch.testing.assert_close(tensor, expected, rtol=1e-3, atol=1e-4)


class TestClock:
    def test_it_sees_whether_lanes_will_be_finished_in_time(self, tmp_path: Path) -> None:
        lane = lane_of(tmp_path, arms(10, "kd"))  # 40 steps of 12 images, 48 an epoch
        clock = gpu_study.Clock(time.monotonic() + 1000, 0)
        clock.count(47_000, 47)
        assert clock.enough_for([lane]), "it cannot know before an epoch is over"
        clock.count(1000, 1)  # a thousand seconds an image
        assert not clock.enough_for([lane])
        clock.measure_anew()
        clock.count(48 * 1.9, 48)  # 1.9 s an image, 480 of them: 912 s
        assert clock.enough_for([lane])
        assert clock.enough_for([lane, lane]), "of two it has seen half an epoch"
        clock.count(48 * 1.9, 48)
        assert not clock.enough_for([lane, lane])

    def test_what_does_not_fit_waits_for_the_others(self, tmp_path: Path) -> None:
        class NeverEnough(gpu_study.Clock):
            def enough_for(self, lanes: Sequence[Lane]) -> bool:
                return False

        chosen, finished = arms(8, "smskd-tcp"), list[tuple[int, list[int]]]()
        lanes = [lane_of(tmp_path / f"{seed}", chosen, seed) for seed in range(3)]

        def finish(lane: Lane) -> None:
            finished.append((lane.seed, [other.done for other in lanes]))

        clock = NeverEnough(time.monotonic() + 1000, 1000)
        assert gpu_study.train(iter(lanes), 3, clock, finish)
        # Two wait, one after the other; then each goes on from where it waited.
        assert finished == [(0, [32, 32, 20]), (1, [32, 32, 20]), (2, [32, 32, 32])]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with a train and a test part."""
    root: Path = tmp_path_factory.mktemp("images")
    for part, seed, count in (("train", 0, IMAGES), ("test", 1, 16)):
        images = drawn_images(seed, count)
        for number, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
            path = root / part / f"class-{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small study that nobody stopped."""
    out: Path = tmp_path_factory.mktemp("whole") / "out"
    gpu_study.main([f"--data={data}", f"--out={out}", "--seeds=2", *SMALL])
    return out


def assert_same_weights(out: Path, other: Path) -> None:
    ours, theirs = weights_in(out), weights_in(other)
    assert ours.keys() == theirs.keys()
    for name, state in theirs.items():
        assert_same(ours[name], state)


def weights_in(out: Path) -> dict[str, State]:
    files = sorted(out.rglob("*.safetensors"))
    return {str(path.relative_to(out)): load_tensors(path)[0] for path in files}


class TestStudy:
    def test_it_leaves_each_student_and_what_it_is_worth(self, whole: Path) -> None:
        names = [f"seed-{seed}/{arm}" for seed in (0, 1) for arm in gpu_study.ARMS]
        assert sorted(weights_in(whole)) == sorted(
            f"{name}.safetensors" for name in [*names, "teacher/teacher"]
        )
        results = json.loads((whole / "results.json").read_text())
        assert results["data"]["train"] == IMAGES and results["data"]["test"] == 16
        smskd = results["arms"]["smskd-tcp"]
        top1, kd = smskd["test_top1"], results["arms"]["kd"]["test_top1"]
        assert smskd["spread"]["mean"] == pytest.approx((top1["0"] + top1["1"]) / 2)
        differences = [top1[seed] - kd[seed] for seed in ("0", "1")]
        assert smskd["against"]["kd"]["difference"] == pytest.approx(sum(differences) / 2)
        assert str(whole.parent) not in (whole / "results.json").read_text()

    def test_its_table_says_what_the_results_say(self, whole: Path) -> None:
        results = {
            "arms": {
                "kd": {
                    "words": "kd by itself",
                    "test_top1": {"0": 0.5, "1": 0.7},
                    "spread": {"mean": 0.6, "sd": 0.1414},
                    "against": {"simultaneous": {"difference": -0.05, "p": 0.25, "n": 2}},
                },
                "simultaneous": {"words": "both", "test_top1": {}, "against": {}},
            }
        }
        assert gpu_study.table(results)[2:] == [
            "| kd | 2 | 60.00 ± 14.14 | – | -5.00 (0.25) | kd by itself |",
            "| simultaneous | 0 | – | – | – | both |",
        ]

    def test_it_stops_in_time_and_goes_on(
        self,
        data: Path,
        whole: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(gpu_study, "_AT_A_TIME", 3)
        left_at = []
        while not (tmp_path / "seed-1" / "scores.json").exists():
            # No time at all: each call takes the fewest steps there are, and saves.
            command = [f"--data={data}", f"--out={tmp_path}", "--seeds=2", "--minutes=0"]
            gpu_study.main([*command, *SMALL])
            left_at += [step.name for step in tmp_path.glob("*/unfinished/step-*")]
        # Four steps of the teacher, then eight of both seeds side by side.
        assert left_at == ["step-3", "step-3", "step-3", "step-6", "step-6"]
        assert capsys.readouterr().out.count("run this again to go on") == 3
        assert_same_weights(tmp_path, whole)

    def test_killed_it_goes_on_and_ends_the_same(self, data: Path, tmp_path: Path) -> None:
        command = [f"--data={data}", "--seeds=1", *SMALL, "--epochs=16", "--arms", "smskd-tcp"]
        left, whole = tmp_path / "left", tmp_path / "whole"
        with subprocess.Popen(
            [sys.executable, gpu_study.__file__, f"--out={left}", "--save-minutes=0", *command]
        ) as process:
            while not (left / "seed-0" / "unfinished" / "state.json").exists():
                assert process.poll() is None, "it ended before it saved"
                time.sleep(0.005)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (left / "seed-0" / "scores.json").exists()
        for out in (left, whole):
            gpu_study.main([f"--out={out}", *command])
        assert_same_weights(left, whole)

    def test_a_teacher_can_be_given(self, data: Path, whole: Path, tmp_path: Path) -> None:
        given = whole / "teacher" / "teacher.safetensors"
        gpu_study.main(
            [f"--data={data}", f"--out={tmp_path}", f"--teacher={given}", "--seeds=1", *SMALL]
        )
        assert not (tmp_path / "teacher").exists()
        kept = Path("seed-0") / "kd.safetensors"
        assert_same(load_tensors(tmp_path / kept)[0], load_tensors(whole / kept)[0])

    @needs_gpu
    def test_on_a_gpu_it_runs_too(self, data: Path, tmp_path: Path) -> None:
        command = [f"--data={data}", f"--out={tmp_path}", "--seeds=2", *SMALL, "--device=cuda"]
        for minutes in ("--minutes=0", "--minutes=15"):
            gpu_study.main([*command, "--epochs=10", minutes])
        results = json.loads((tmp_path / "results.json").read_text())
        assert results["device"] == torch.cuda.get_device_name()
        assert len(results["arms"]["smskd-tcp"]["test_top1"]) == 2

    def test_other_settings_need_another_folder(
        self, data: Path, whole: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = [f"--data={data}", f"--out={whole}", *SMALL, "--epochs=3"]
        with pytest.raises(SystemExit) as left:
            gpu_study.main(command)
        assert left.value.code == RunMismatchError.exit_code
        assert "choose another --out" in capsys.readouterr().err

    def test_an_unknown_arm_is_told_with_those_there_are(self) -> None:
        with pytest.raises(UnknownNameError, match=r"smskd-tcpp.*smskd-tcp"):
            arms(2, "smskd-tcpp")
