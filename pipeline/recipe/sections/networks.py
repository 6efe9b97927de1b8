"""Sections of teachers and student."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.recipe.sections.training import TeacherTrainingRecipe
from pipeline.recipe.sections.values import Few, Fraction, Positive, Section
from smskd.stage import check_sequence


class NetworkRecipe(Section):
    """A network and where its weights come from; see the teacher's section."""

    model: str
    weights: str | None = None
    weights_key: str | None = None
    settings: dict[str, bool | int | float | str] = {}
    expect_top1: float | None = None
    taps: list[str] | None = None

    @field_validator("expect_top1")
    @classmethod
    def _in_percent(cls, expected: float | None) -> float | None:
        if expected is not None and not 1 < expected <= 100:
            raise ValueError("must be in percent of the test images, such as 91.2")
        return expected

    @property
    def begins_with(self) -> str | None:
        """Weights that others have trained, whether it is trained further or not."""
        return self.weights

    @property
    def is_fine_tuned(self) -> bool:
        """Whether it is trained further than that."""
        return False

    @model_validator(mode="after")
    def _has_weights_to_choose_from(self) -> Self:
        if self.weights_key is not None and self.begins_with is None:
            raise ValueError(
                f'weights_key = "{self.weights_key}" names one of several sets of weights in a '
                "file, but there are no weights"
            )
        return self


class TeacherRecipe(NetworkRecipe):
    """The network that teaches: trained here, unless weights are given or it is only asked.

    Attributes:
        model: a registered model, "package.module:factory", or a teacher that is asked: an ONNX
            file, "function:package.module:name", "command:PROGRAM ARGUMENTS", or a file of what a
            teacher said of each image: .npz, .safetensors, .csv; or the run folder, or the
            .safetensors file, of a teacher that was trained here, which tell the rest.
        weights: a .safetensors or torch checkpoint of that model, or a library's pretrained
            weights by name: "torchvision:IMAGENET1K_V1".
        weights_key: names one of several sets of weights in a checkpoint: "model_ema".
        settings: what else its factory is told, by keyword, such as settings that change what it
            computes and that no weights carry: { transform_input = true }.
        expect_top1: percent of test images that it is known to answer rightly; what falls short of
            it by more than chance and a point ends in an error.
        taps: names of submodules whose features are compared with the student's, in order; None
            finds them.
        head: name of the layer that gives the logits, which is made anew where the data has other
            classes than the network; None finds it.
        preprocessing: where the preparation of its images is taken from, for weights of one's own;
            as data.preprocessing.source.
        training: how it is trained when no weights are given.
    """

    model: str = "resnet20"
    head: Annotated[str, Field(min_length=1)] | None = None
    preprocessing: str | None = None
    training: TeacherTrainingRecipe = TeacherTrainingRecipe()

    @property
    def begins_with(self) -> str | None:
        """Weights that others have trained, whether it is trained further or not."""
        return self.weights or (self.training.weights if self.is_fine_tuned else None)

    @property
    def is_fine_tuned(self) -> bool:
        """Whether it is trained further than that."""
        return self.training.is_fine_tuning

    @field_validator("training")
    @classmethod
    def _names_its_schedule(cls, training: TeacherTrainingRecipe) -> TeacherTrainingRecipe:
        check_sequence([training])
        return training

    @model_validator(mode="after")
    def _is_finished_or_trained(self) -> Self:
        if self.weights is not None and self.training.is_fine_tuning:
            raise ValueError(
                f'weights = "{self.weights}" are a finished teacher\'s, which is not trained, but '
                f'training.weights = "{self.training.weights}" is to be fine-tuned; leave out one '
                "of them"
            )
        return self


class MemberRecipe(NetworkRecipe):
    """One of several teachers: an ONNX file or another that is asked, or a network with weights.

    Attributes:
        name: by which a stage names it.
        weight: how much it counts beside the others.
        model, weights, weights_key, settings, taps, preprocessing: as the teacher's.
        expect_top1: of all together it is the teacher's.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    weight: Positive = 1.0
    preprocessing: str | None = None

    @field_validator("expect_top1")
    @classmethod
    def _is_that_of_all(cls, expected: float | None) -> float | None:
        if expected is not None:
            raise ValueError("is told of all teachers together: teacher.expect_top1")
        return expected


_INPUT_SHAPE = r"^.+=[1-9]\d{0,8}(,[1-9]\d{0,8})*$"


class StudentRecipe(NetworkRecipe):
    """The network that learns.

    Attributes:
        model: a registered model, "torchvision/NAME", "timm/NAME", or "package.module:factory".
        weights: what it starts from, as the teacher's; None draws them from the seed.
        weights_key, settings, expect_top1: as the teacher's; of what it starts from.
        taps: as the teacher's, and as many.
        prune: share of its channels that is taken out before the first stage; None keeps all.
        prune_importance: by what the least important channels are found, before later stages too:
            the L2 norm of all weights that hang on a channel, the batch-norm scale, or chance.
        prune_multiple: each layer keeps a multiple of so many channels, the nearest to the share;
            kernels work in blocks, and a block that is half empty takes as long as a full one.
        train_alone: also train the same student on the labels alone, for the epochs of all stages:
            the report then says what distillation gained.
        input_shapes: of an ONNX graph that is no classifier: the shape of an input of which the
            file leaves sizes free, such as images=1,3,320,320; a free first size alone is 1.
    """

    model: str = "resnet8"
    prune: Fraction | None = None
    prune_importance: Literal["group-norm", "bn-scale", "random"] = "group-norm"
    prune_multiple: Few = 8
    train_alone: bool = False
    input_shapes: list[Annotated[str, Field(pattern=_INPUT_SHAPE)]] | None = None

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Sizes that were said, by input."""
        pairs = (entry.rpartition("=") for entry in self.input_shapes or [])
        return {name: [int(size) for size in sizes.split(",")] for name, _, sizes in pairs}
