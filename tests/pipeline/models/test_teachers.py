"""Teachers that are asked: what they say, and what becomes of answers that cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.graphs.to_onnx import export_onnx
from foundation.bundle import Preprocessing
from foundation.errors import MissingFileError, ModelMismatchError, UnknownNameError
from pipeline.models import build_model
from pipeline.models.teachers import TeacherRequest, asked_teacher
from pipeline.models.teachers.asking import (
    AskedTeacher,
    are_probabilities,
    notice_probabilities,
    pixels_of,
)
from smskd.features.tap_search import find_taps
from smskd.features.taps import TappedModel

SHAPE = Preprocessing(height=16, width=16, channels=3, mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.25])


def opened(model: str, folder: Path, taps: tuple[str, ...] = ()) -> AskedTeacher:
    asked = asked_teacher(model)
    assert asked is not None
    folder.mkdir(exist_ok=True)
    request = TeacherRequest(asked.argument, SHAPE, taps, folder)
    return asked.kind.adopt(request, lambda _line: None)


def normalised(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(SHAPE.apply(pixels))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    network = build_model("resnet8", 10, 3)
    with torch.no_grad():
        network.train()(torch.rand(32, 3, 16, 16))
    return network.eval()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (6, 16, 16, 3), np.uint8)


class TestGraph:
    @pytest.fixture(scope="class")
    def graph(self, network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("graph") / "net.onnx"
        export_onnx(network, torch.zeros(1, 3, 16, 16), path, 20)
        return path

    def test_answers_what_the_network_does(
        self, network: nn.Module, graph: Path, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        images = normalised(pixels)
        with torch.no_grad():
            expected = network(images)
        teacher = opened(str(graph), tmp_path / "teacher")
        torch.testing.assert_close(teacher(images), expected, rtol=1e-4, atol=1e-4)
        # Batch norms are folded into the convolutions before them, whose biases they become.
        numbers = sum(p.numel() for p in network.parameters())
        assert teacher.parameters_known == pytest.approx(numbers, rel=0.02)

    def test_its_last_map_of_each_resolution_can_be_tapped_as_the_network_s(
        self, network: nn.Module, graph: Path, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        images = normalised(pixels)
        teacher = opened(str(graph), tmp_path / "teacher")
        ours = TappedModel(network, find_taps(network, images))
        theirs = TappedModel(teacher, find_taps(teacher, images))
        assert len(theirs.taps) == len(ours.taps) == 3
        with torch.no_grad():
            expected, signals = ours(images), theirs(images)
        for feature, other in zip(expected.features, signals.features, strict=True):
            torch.testing.assert_close(other, feature, rtol=1e-3, atol=1e-3)

    def test_a_tensor_is_tapped_by_its_name(self, graph: Path, tmp_path: Path) -> None:
        first = opened(str(graph), tmp_path / "teacher")
        name = next(name for name, _ in first.named_modules() if name)
        teacher = opened(str(graph), tmp_path / "teacher", (name,))
        signals = TappedModel(teacher, [name])(torch.rand(2, 3, 16, 16))
        assert signals.features[0].shape[:1] == (2,)

    def test_a_tensor_that_it_does_not_compute_is_named(self, graph: Path, tmp_path: Path) -> None:
        with pytest.raises(UnknownNameError, match=r"tensor of teacher\.onnx 'layer9'"):
            opened(str(graph), tmp_path / "teacher", ("layer9",))

    def test_a_softmax_at_its_end_is_left_out(
        self, network: nn.Module, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        path = tmp_path / "soft.onnx"
        ended = nn.Sequential(network, nn.Softmax(1)).eval()
        export_onnx(ended, torch.zeros(1, 3, 16, 16), path, 20)
        teacher, images = opened(str(path), tmp_path / "teacher"), normalised(pixels)
        with torch.no_grad():
            torch.testing.assert_close(teacher(images), network(images), rtol=1e-4, atol=1e-4)

    def test_a_file_that_is_not_there_is_named_before_any_work(self) -> None:
        asked = asked_teacher("nowhere.onnx")
        assert asked is not None
        with pytest.raises(MissingFileError, match=r"teacher\.model: nowhere\.onnx: no such file"):
            asked.kind.check(asked.argument, "teacher.model")


FUNCTION = """\
import numpy as np

def by_colour(pixels):
    assert pixels.dtype == np.uint8 and pixels.shape[3] == 3
    return pixels.mean((1, 2)).astype(np.float64)

def wrong_count(pixels):
    return [[1.0, 2.0]]

def broken(pixels):
    raise RuntimeError("no server")
"""


class TestFunction:
    @pytest.fixture(autouse=True)
    def _module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "asked_function.py").write_text(FUNCTION)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("asked_function", None)

    def test_sees_the_very_pixels(self, pixels: np.ndarray, tmp_path: Path) -> None:
        teacher = opened("function:asked_function:by_colour", tmp_path / "teacher")
        expected = torch.from_numpy(pixels.mean((1, 2)))
        torch.testing.assert_close(teacher(normalised(pixels)).double(), expected)

    def test_a_wrong_number_of_answers_is_refused(self, pixels: np.ndarray, tmp_path: Path) -> None:
        teacher = opened("function:asked_function:wrong_count", tmp_path / "teacher")
        with pytest.raises(ModelMismatchError, match=r"answered 6 images with .* \(1, 2\)"):
            teacher(normalised(pixels))

    def test_what_goes_wrong_in_it_is_told_in_a_line(
        self, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        teacher = opened("function:asked_function:broken", tmp_path / "teacher")
        with pytest.raises(ModelMismatchError, match=r"broken failed .* RuntimeError: no server"):
            teacher(normalised(pixels))

    def test_one_that_is_not_there_is_named(self) -> None:
        asked = asked_teacher("function:asked_function:nothing")
        assert asked is not None
        with pytest.raises(ModelMismatchError, match="nothing"):
            asked.kind.check(asked.argument, "teacher.model")


PROGRAM = """\
import sys
import numpy as np

class Pipe:
    def read(self, count):
        return sys.stdin.buffer.read(count)

while True:
    try:
        pixels = np.lib.format.read_array(Pipe())
    except ValueError:
        break
    answers = pixels.reshape(len(pixels), -1, 3).mean(1)
    if len(sys.argv) > 1:
        sys.exit(sys.argv[1])
    np.lib.format.write_array(sys.stdout.buffer, answers)
    sys.stdout.flush()
"""


class TestCommand:
    @pytest.fixture
    def program(self, tmp_path: Path) -> str:
        path = tmp_path / "answer.py"
        path.write_text(PROGRAM)
        return f"{sys.executable} {path}"

    def test_answers_one_batch_after_another(
        self, program: str, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        teacher = opened(f"command:{program}", tmp_path / "teacher")
        for part in (pixels, pixels[:2], pixels[3:4]):
            expected = torch.from_numpy(part.mean((1, 2))).float()
            torch.testing.assert_close(teacher(normalised(part)), expected, rtol=1e-5, atol=1e-3)

    def test_one_that_ends_is_told_of_with_its_last_words(
        self, program: str, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        teacher = opened(f"command:{program} 'no licence'", tmp_path / "teacher")
        with pytest.raises(ModelMismatchError, match=r"exit code 1 .*; its last line: no licence"):
            teacher(normalised(pixels))

    def test_one_that_prints_something_else_is_told_of(
        self, pixels: np.ndarray, tmp_path: Path
    ) -> None:
        code = "import sys; sys.stdin.buffer.read(9); print('hello ' * 9, flush=True)"
        teacher = opened(f'command:{sys.executable} -c "{code}"', tmp_path / "teacher")
        with pytest.raises(ModelMismatchError, match=r"no \.npy array"):
            teacher(normalised(pixels))

    def test_its_script_is_what_its_answers_are_known_by(
        self, program: str, tmp_path: Path
    ) -> None:
        before = opened(f"command:{program}", tmp_path / "teacher").digest
        (tmp_path / "answer.py").write_text(PROGRAM + "# changed\n")
        assert not opened(f"command:{program}", tmp_path / "teacher").digest.equal(before)

    def test_one_that_cannot_be_found_is_named(self) -> None:
        asked = asked_teacher("command:no-such-program -v")
        assert asked is not None
        with pytest.raises(UnknownNameError, match=r"no program .no-such-program. can be found"):
            asked.kind.check(asked.argument, "teacher.model")


class _Answers(AskedTeacher):
    def __init__(self, answers: Tensor) -> None:
        super().__init__("answers", b"")
        self.answers = answers

    def answer(self, images: Tensor) -> Tensor:
        return self.answers[: len(images)]


class TestProbabilities:
    def test_their_logarithms_are_the_logits(self) -> None:
        logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
        teacher = _Answers(logits.softmax(1))
        remark = notice_probabilities(teacher, torch.zeros(2, 3, 4, 4))
        assert remark is not None
        assert "logarithms" in remark
        given = teacher(torch.zeros(2, 3, 4, 4))
        torch.testing.assert_close(given, logits.log_softmax(1))

    def test_one_of_nought_stays_a_number(self) -> None:
        teacher = _Answers(torch.tensor([[1.0, 0.0]]))
        notice_probabilities(teacher, torch.zeros(1, 3, 4, 4))
        assert torch.isfinite(teacher(torch.zeros(1, 3, 4, 4))).all()

    @pytest.mark.parametrize(
        ("answers", "expected"),
        [
            ([[0.2, 0.8], [0.5, 0.5]], True),
            ([[0.33, 0.33, 0.33]], True),
            ([[0.2, 0.9], [0.5, 0.5]], False),
            ([[1.2, -0.2]], False),
            ([[3.0, 1.0]], False),
        ],
    )
    def test_rows_of_probabilities_are_told_from_others(
        self, answers: list[list[float]], expected: bool
    ) -> None:
        assert are_probabilities(torch.tensor(answers)) is expected


def test_pixels_come_back_from_normalised_images(pixels: np.ndarray) -> None:
    assert np.array_equal(pixels_of(normalised(pixels), SHAPE).numpy(), pixels)


@pytest.mark.parametrize("model", ["resnet8", "torchvision/resnet18", "package.module:factory"])
def test_a_network_of_torch_is_not_asked(model: str) -> None:
    assert asked_teacher(model) is None
