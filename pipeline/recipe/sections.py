"""The recipe: the whole road in one TOML file, typed and validated.

Reading a recipe needs neither torch nor a runtime, so every command can do it at once.
"""

from __future__ import annotations

import re
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from deploy_targets.device.options import (
    Batch,
    RuntimeOptions,
    SamplingOptions,
    sustained_seconds,
)
from deploy_targets.hosts.host_names import LOCAL, password_problem
from deploy_targets.intervals import FEWEST_ROUNDS
from foundation.limits import Passing, Within
from smskd.curve import SCHEDULES, leader_of, own_curve, schedule_names, with_schedules
from smskd.engine import Engine
from smskd.stage import MethodSpec, Stage, at_default, check_sequence

# Each look can be wrong: docs/ci.md adds up what a verdict promises over all of them.
MOST_RETRIES = 3

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Within(0, 1, above=True)]
Shade = Annotated[int, Field(ge=0, le=255)]


Seed = Annotated[int, Within(0, 2**32 - 1)]
Side = Annotated[int, Within(1, 8192)]
Sides = Annotated[list[Side], Field(min_length=2, max_length=2)]
Count = Annotated[int, Within(1, 10_000_000)]
Few = Annotated[int, Within(1, 1024)]
Epochs = Annotated[int, Within(1, 1_000_000)]
Weight = Annotated[float, Within(0, 1e9)]
Rate = Annotated[float, Within(0, 1000, above=True)]
Positive = Annotated[float, Within(0, 1e6, above=True)]
NotNegative = Annotated[float, Within(0, 1e6)]
ChannelMean = Annotated[float, Within(-1e6, 1e6)]
Change = Annotated[float, Within(0, 10)]
Names = Annotated[list[str], Field(min_length=1)]

AUGMENT_PRESETS: dict[str, dict[str, float | bool]] = {
    "imagenet": {"crop_min_area": 0.08, "flip": True},
    "cifar": {"shift": 4, "flip": True},
}
"""What a preset of `data.augment` sets, where a key is not written down."""


class Section(BaseModel):
    """A table of the recipe: unknown keys and wrong types are refused.

    Attributes:
        LATER: keys that came with a later release; where they have their default, all is as it was
            before them. What is made of a recipe is told from other work by its values, so that
            such a key is not written down: what was begun before is gone on with.
    """

    LATER: ClassVar[tuple[str, ...]] = ()

    model_config = ConfigDict(**_STRICT, frozen=True)

    @property
    def silent_keys(self) -> frozenset[str]:
        """Those of `LATER` that have their default."""
        defaults = {name: type(self).model_fields[name].default for name in self.LATER}
        return frozenset(name for name in self.LATER if getattr(self, name) == defaults[name])


@dataclass(config=_STRICT, frozen=True)
class MethodRecipe(MethodSpec):
    """One method of a stage: `{ name = "at", weight = 500.0, settings = { power = 2.0 } }`."""

    weight: Weight | None = None


def _known_schedule(name: str) -> str:
    if name not in schedule_names():
        raise ValueError(f"must be one of {', '.join(schedule_names())}")
    return name


def _known_curve(name: str) -> str:
    if name not in SCHEDULES.names():
        raise ValueError(f"must be one of {', '.join(SCHEDULES.names())}")
    return name


@dataclass(config=_STRICT, frozen=True)
class TrainingRecipe(Stage):
    """Plain training on the labels: the keys of a stage, methods aside."""

    methods: Annotated[tuple[MethodRecipe, ...], Field(max_length=0)] = ()
    epochs: Epochs = 30
    ce_weight: Weight | None = 1.0
    lr: Rate | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Within(0, 1000)] = 5e-4
    norm_weight_decay: Annotated[float, Within(0, 1000)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    logit_adjustment: NotNegative | None = None
    label_correction: Annotated[float, Field(ge=0, le=1)] = 0.0
    schedule: Annotated[str, AfterValidator(_known_schedule)] | None = "cosine"
    step_epochs: Epochs | None = None
    warmup_epochs: NotNegative | None = None
    hold_epochs: NotNegative | None = None
    warm_lr: Share | None = None
    max_grad_norm: Positive | None = None
    accumulate: Batch = 1


FROM_SCRATCH = "none"
"""Of `teacher.training.weights`: the teacher is to begin with none."""
_OF_FINE_TUNING = ("head_epochs", "layer_decay", "patience", "ema_epochs")


@dataclass(config=_STRICT, frozen=True)
class TeacherTrainingRecipe(TrainingRecipe):
    """How the teacher is trained: from the beginning, or from weights that others have trained.

    Attributes:
        weights: what it begins with: a library's pretrained weights by name, such as
            "torchvision:DEFAULT" or "timm:pretrained", or a .safetensors or torch checkpoint of its
            model, of whatever classes; its layer for these is made anew. "none", or unset, draws
            all of them from the seed.
        head_epochs: epochs in which the new layer learns alone, before all does.
        head_lr: its learning rate in these, at the peak; unset ten times lr.
        layer_decay: learning rate of each group of layers against the group above it.
        patience: end after so many epochs without a better one on the validation images; 0 does
            not.
        ema_epochs: what is handed on is a running mean of the weights that reaches back about so
            many epochs; 0 is none. ema_decay says it by the step.
    """

    weights: Annotated[str, Field(min_length=1)] | None = None
    head_epochs: Annotated[int, Within(0, 1_000_000)] = 0
    head_lr: Rate | None = None
    layer_decay: Share = 1.0
    patience: Annotated[int, Within(0, 1_000_000)] = 0
    ema_epochs: NotNegative = 0.0

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        of_the_head = self.head_epochs or self.head_lr is not None
        if not self.is_fine_tuning and (of_the_head or self.layer_decay < 1):
            raise ValueError(
                "head_epochs, head_lr and layer_decay are for a network that begins with trained "
                "weights, but there are none; name some with --weights, or leave these out"
            )
        if self.patience and self.keep != "best":
            raise ValueError(
                f"patience = {self.patience} ends the training after the best epoch, but keep = "
                f'"{self.keep}" hands on another; leave keep out'
            )
        if self.ema_decay is not None and self.ema_epochs:
            raise ValueError("ema_epochs and ema_decay say the same thing; leave out one of them")
        return self

    @property
    def is_fine_tuning(self) -> bool:
        """Whether it begins with trained weights."""
        return self.weights not in {None, FROM_SCRATCH}

    @property
    def silent_keys(self) -> frozenset[str]:
        """As of a stage; of a fine-tuning, whose keys have other defaults, all are written down."""
        later = () if self.is_fine_tuning else _OF_FINE_TUNING
        return super().silent_keys | at_default(self, later)


@dataclass(config=_STRICT, frozen=True)
class StageRecipe(TrainingRecipe):
    """One stage of the distillation: one method, or a weighted set of methods.

    Attributes:
        prune: share of the student's channels that is taken out before the stage; before the
            first one it is the student's own `prune`.
    """

    methods: Annotated[tuple[MethodRecipe, ...], Field(min_length=1)] = (MethodRecipe("kd"),)
    prune: Fraction | None = None
    epochs: Epochs = 10
    schedule: Annotated[str, AfterValidator(_known_schedule)] | None = None
    ce_weight: Weight | None = None
    reference_weight: Weight = 0.1
    reference_temperature: Positive = 4.0
    reference_feature_weight: Weight = 0.0
    carry: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(config=_STRICT, frozen=True)
class EngineRecipe(Engine):
    """Device and precision of the training, and where its course is logged.

    Attributes:
        log: write the course of each training, epoch by epoch, for tensorboard, mlflow, or both.
        log_to: where mlflow keeps it: a server's address, or a store's, such as sqlite:///mlflow.db;
            if unset what MLFLOW_TRACKING_URI says, or else logs/mlflow in the run folder.
    """

    log: list[Literal["tensorboard", "mlflow"]] = field(default_factory=list)
    log_to: Annotated[str, Field(min_length=1)] | None = None


class AugmentRecipe(Section):
    """How a training image is varied; each view of a sample draws anew.

    Attributes:
        preset: values for the keys that are not written down: "imagenet" (crop_min_area = 0.08,
            flip), "cifar" (shift = 4, flip), or "none".
        shift: largest shift in pixels, in each direction; the border is filled with zeros.
        flip: mirror left and right, half of the time.
        rotate: largest turn in degrees, both ways.
        crop_min_area: cut out a box with at least this share of the picture's area, of an aspect
            from 3/4 to 4/3, and bring it to the image's size; None cuts nothing out.
        crop_size: height and width of these crops, where training is to see another size than
            what ships; None takes image_size.
        brightness, contrast, saturation: largest change, as a share; 0.4 makes it 0.6 to 1.4 times
            as much.
        hue: largest turn of the wheel of colours, as a share of it.
        policy: changes of shape and colour drawn from a list: randaugment, trivialaugment, augmix.
        operations: changes an image, for RandAugment.
        magnitude: how strong they are, for RandAugment.
        erase: share of the images that lose a box of 2 to 33 % of their area.
        mix: mix the images of a batch: MixUp, CutMix, or either by the batch.
        mix_alpha: the share that an image keeps is drawn from Beta(mix_alpha, mix_alpha).
        mixup_alpha: the same for MixUp, where it is not as for CutMix; None takes mix_alpha.
    """

    preset: Literal["none", "imagenet", "cifar"] = "none"
    shift: Annotated[int, Within(0, 8192)] = 0
    flip: bool = False
    rotate: Annotated[float, Within(0, 360)] = 0.0
    crop_min_area: Fraction | None = None
    crop_size: Side | None = None
    brightness: Change = 0.0
    contrast: Change = 0.0
    saturation: Change = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    policy: str = "none"
    operations: Few = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    mix: Literal["none", "mixup", "cutmix", "mixup+cutmix"] = "none"
    mix_alpha: Positive = 1.0
    mixup_alpha: Positive | None = None

    @model_validator(mode="after")
    def _has_crops_of_that_size(self) -> Self:
        if self.crop_size is not None and self.crop_min_area is None:
            raise ValueError(
                f"crop_size = {self.crop_size} is that of random crops, but crop_min_area is not "
                "set; set it, or leave crop_size out"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _fills_in_its_preset(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return AUGMENT_PRESETS.get(str(content.get("preset")), {}) | content


_NOT_ANTIALIASED = ("nearest", "bilinear")  # as `foundation.preprocessing`, which imports numpy


class PreprocessingRecipe(Section):
    """How pictures become a network's images; what is not said here comes with the network's
    weights, and then with the teacher's.

    Attributes:
        source: take what is not said from elsewhere, for weights of one's own:
            "torchvision:IMAGENET1K_V1" or "torchvision:ResNet50_Weights.IMAGENET1K_V2",
            "timm:NAME", "imagenet", "inception", or a file of such keys, such as a bundle.json.
        fit: crop keeps a picture's shape and cuts out its middle; squash gives it the shape of the
            image; pad keeps its shape and fills what is left.
        crop_pct: side of the middle that is cut out, as a share of the side that the picture is
            brought to: 0.875 brings it to 256 for an image of 224.
        resize_to: the same as a number of pixels, or [height, width].
        resize: the filter that resamples.
        antialias: false resamples without widening the filter, as OpenCV and TensorFlow do; for
            nearest and bilinear.
        pad_colour: red, green and blue of 0..255 that pad fills with.
    """

    source: str | None = None
    fit: Literal["squash", "crop", "pad"] | None = None
    crop_pct: Annotated[float, Within(0, 1, above=True)] | None = None
    resize_to: Side | Sides | None = None
    resize: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] | None = None
    antialias: bool | None = None
    pad_colour: Annotated[list[Shade], Field(min_length=3, max_length=3)] | None = None

    @model_validator(mode="after")
    def _has_one_size_before_the_cut(self) -> Self:
        if self.crop_pct is not None and self.resize_to is not None:
            raise ValueError("crop_pct and resize_to say the same thing; leave out one of them")
        return self

    @model_validator(mode="after")
    def _can_do_without_antialiasing(self) -> Self:
        if self.antialias is False and (self.resize or "bilinear") not in _NOT_ANTIALIASED:
            raise ValueError(
                f'resize = "{self.resize}" always antialiases; antialias = false goes with '
                f"{' and '.join(_NOT_ANTIALIASED)}"
            )
        return self


_FOLDER = "folder:"


class DataRecipe(Section):
    """What is learned from.

    Attributes:
        name: a registered dataset, with what it needs behind a colon: "folder:PATH".
        unlabelled: nobody says what its images show: all of the folder and of those in it are
            taken, the teacher alone says what they are, and students are held against its answers.
        unlabelled_from: a further folder of images without labels, "folder:PATH", that the student
            learns from beside the others.
        unlabelled_share: share of each epoch's images that are of those; None shows each once.
        classes: the classes in the order of a network's logits: "imagenet1k", or a file with a name
            a line; the dataset's folders or labels are found in it by id, name or number. None
            takes the dataset's own, sorted.
        image_size: height and width of what the student sees, and of what ships: one number, or
            [height, width] where they differ; None takes what the weights were trained with, or
            the dataset's own.
        teacher_image_size: height and width of what the teacher sees; None takes the student's.
        preprocessing: how pictures become images.
        channels: 1 reads images as grey, 3 as red, green and blue; None as the dataset has them.
        mean, std: of each channel on the scale 0..1, where weights from elsewhere were trained with
            others than the training images have; None takes those that come with the weights, or
            the training images'.
        split_seed: decides which images are train, validation and test, apart from the run's
            seed, so that runs of several seeds share one test set.
        val_fraction: part of the training images that is held out for every choice.
        test_fraction: part held out for the final word, where a dataset has no test split.
        student_fraction: part of the training images that the student sees; the teacher sees all.
        on_bad_image: what to do with an image that cannot be decoded.
        ground: red, green and blue of 0..255 beneath images that are transparent in places.
        grey_bits: bits that the grey values of images with more than 8 bits have: the largest
            becomes white; 0 is floating point from 0 to 1; None decides it by looking.
        max_megapixels: an image of more is not decoded, for it would take 4 MB a megapixel.
        cache: a folder where the pictures of random crops are kept decoded, so that each is decoded
            once; None decodes them in every epoch.
        cache_side: pictures whose shorter side is longer are kept made smaller to it; None takes
            twice the shorter side of a crop.
        sampling: how often images of a class are drawn to train on: "balanced" draws from all
            classes alike, "sqrt" by the root of how many images they have; each epoch has as many
            images as ever, those of rare classes several times. If unset each image once.
        batch_size: images a training step.
        calibration_images: training images kept for quantisation.
        evaluation_images: at most so many test images travel to a device.
        augment: how a training image is varied.
        teacher_views: so many fixed views of each image come back again and again in the
            distillation, and what teacher and reference say of them is kept; None draws new ones
            in every epoch, and asks them each time.
        teacher_views_gb: gigabytes that the features in it may take; beyond them only the rest
            is kept. While a stage is trained its reference's answers may take as many: of those
            as many views are kept as have room.
    """

    LATER: ClassVar[tuple[str, ...]] = ("unlabelled",)

    name: str = "digits"
    unlabelled: bool = False
    unlabelled_from: str | None = None
    unlabelled_share: Fraction | None = None
    classes: str | None = None
    image_size: Side | Sides | None = None
    teacher_image_size: Side | None = None
    preprocessing: PreprocessingRecipe = PreprocessingRecipe()
    channels: Literal[1, 3] | None = None
    mean: Annotated[list[ChannelMean], Field(min_length=1)] | None = None
    std: Annotated[list[Positive], Field(min_length=1)] | None = None
    split_seed: Seed = 0
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    student_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    on_bad_image: Literal["refuse", "skip"] = "refuse"
    ground: Annotated[list[Shade], Field(min_length=3, max_length=3)] = [255, 255, 255]
    grey_bits: Literal[0, 8, 10, 12, 14, 16] | None = None
    max_megapixels: Annotated[float, Within(0, 1000, above=True)] = 100.0
    cache: str | None = None
    cache_side: Side | None = None
    sampling: Literal["balanced", "sqrt"] | None = None
    batch_size: Batch = 64
    calibration_images: Count = 256
    evaluation_images: Count = 10_000
    augment: AugmentRecipe = AugmentRecipe()
    teacher_views: Annotated[int, Within(1, 10_000)] | None = None
    teacher_views_gb: NotNegative = 4.0

    @model_validator(mode="after")
    def _has_a_cache_of_that_size(self) -> Self:
        if self.cache_side is not None and self.cache is None:
            raise ValueError(
                f"cache_side = {self.cache_side} is that of pictures in a cache, but there is "
                "none; set cache, or leave cache_side out"
            )
        return self

    @model_validator(mode="after")
    def _has_images_without_labels(self) -> Self:
        if self.unlabelled and self.unlabelled_from is not None:
            raise ValueError(
                "unlabelled = true says that no image has a label, and unlabelled_from names those "
                "without one beside others; leave out one of them"
            )
        if self.unlabelled_share is not None and self.unlabelled_from is None:
            raise ValueError(
                f"unlabelled_share = {self.unlabelled_share:g} is that of further images without "
                "labels, but there are none; set unlabelled_from, or leave unlabelled_share out"
            )
        for place in [self.name] if self.unlabelled else [self.unlabelled_from]:
            if place is not None and not place.startswith(_FOLDER):
                raise ValueError(
                    f"images without labels are read from a folder, {_FOLDER}PATH, but got "
                    f"{place!r}"
                )
        return self

    @model_validator(mode="after")
    def _mixed_images_do_not_come_back(self) -> Self:
        if self.teacher_views is not None and self.augment.mix != "none":
            raise ValueError(
                f'teacher_views = {self.teacher_views} and augment.mix = "{self.augment.mix}" do '
                "not go together: a mixed image does not come back, so what the teacher said of it "
                "cannot be kept; leave out one of them"
            )
        return self


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


MIXED = "mix"
"""What `teacher.model` is called where there are several."""


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


AUTO = "auto"
AUTO_MAX_DROP = 1.0


class ExportRecipe(Section):
    """Which bundles are made: every target × format × precision that the target takes.

    Attributes:
        targets: device class, or path of a target profile.
        formats: export format: onnx, openvino, ncnn, executorch; if unset what the target prefers.
        precisions: number format: fp32, fp16, bf16, int8; auto: try them, time them against each
            other and say which ships. If unset what the target prefers.
        max_drop: points of validation accuracy that lower precision may cost, or without labels
            percent of the images that it may name otherwise than FP32; operators stay in floating
            point until it holds. If unset 1 with auto, and otherwise no matter.
        max_trials: bundles of a format tried for that at most.
        tolerated_drop: points of test accuracy beyond which a bundle of lower precision is
            refused: it fails where all of the loss's 95 % interval is above.
        embed_preprocessing: what models do themselves of the preparation: none; normalise, for
            uint8 images, NHWC; resize, for uint8 pictures of any size too; true is normalise.
        teacher: also make an FP32 bundle of the teacher, to measure what was gained.
        scorer: of an ONNX graph that is no classifier: what says its worth, a function of Python,
            package.module:function; called with outputs by name and sample ids, it gives a score or
            several by name, the first of which max_drop is about, in hundredths.
    """

    targets: Names = ["local"]
    formats: list[str] | None = None
    precisions: list[str] | None = None
    max_drop: Annotated[float, Within(0, 100)] | None = None
    max_trials: Few = 12
    tolerated_drop: Annotated[float, Within(0, 100)] = 5.0
    embed_preprocessing: Literal["none", "normalise", "resize"] = "none"
    teacher: bool = True
    scorer: Annotated[str | None, Field(pattern=r"^[\w.]+:\w+$")] = None

    @field_validator("embed_preprocessing", mode="before")
    @classmethod
    def _yes_or_no(cls, value: object) -> object:
        if isinstance(value, bool):
            return "normalise" if value else "none"
        return value

    @property
    def limit(self) -> float | None:
        """Percentage points that the one that ships may lose; None where none is chosen."""
        if self.max_drop is None and self.precisions == [AUTO]:
            return AUTO_MAX_DROP
        return self.max_drop

    @property
    def tolerated(self) -> float:
        """Percentage points beyond which a bundle has failed: whoever allows more, tolerates it."""
        return max(self.tolerated_drop, self.limit or 0.0)

    @model_validator(mode="after")
    def _auto_stands_alone(self) -> Self:
        if AUTO in (self.precisions or []) and self.precisions != [AUTO]:
            raise ValueError(f'"{AUTO}" tries every precision; leave out the others')
        if self.limit is not None and len(self.targets) > 1:
            raise ValueError(
                f"what ships is chosen for one target, but got targets = {self.targets}; "
                "export for one at a time"
            )
        return self


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class HostRecipe:
    """Where bundles are measured.

    Attributes:
        host: where: local, or ssh://user@host:port (docs/devices.md).
    """

    host: str = LOCAL

    @field_validator("host")
    @classmethod
    def _has_no_password(cls, url: str) -> str:
        problem = password_problem(url)
        if problem:
            raise ValueError(problem)
        return url


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class BenchRecipe(SamplingOptions, RuntimeOptions, HostRecipe):
    """How bundles are measured: where, how a runtime runs them, how a measurement is taken.

    Attributes:
        accuracy: also answer the test images.
        against: also time the run's bundle in turns with this one, a folder or a packed file; or
            show its ratio to a stored measurement, which is not interleaved.
        rounds: rounds of turns, in fresh processes each.
        per_layer: also show where the time goes, operator by operator, as the runtime's own
            profile tells it; the latencies are those of processes that nobody profiles.
        sustain: also keep each bundle at work for so long, such as 90s, 30m or 1h, and tell whether
            it holds its speed.
    """

    accuracy: bool = True
    against: str | None = None
    rounds: Annotated[int, Within(FEWEST_ROUNDS, 10_000)] = 16
    per_layer: bool = False
    sustain: Annotated[str | None, Passing(sustained_seconds)] = None

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        for problem in self.problems():
            raise ValueError(problem)
        return self


Against = Literal["baseline", "teacher", "student"]

_ON_INCONCLUSIVE = re.compile(r"report|pass|fail|retry [1-9]\d*")


class Limit(Section):
    """One limit of a budget: at least one of the first three.

    Attributes:
        max, min: in the metric's unit.
        max_regression: how much worse than a reference, in percent of it; an accuracy in
            percentage points. Below zero: so much better.
        against: the reference: "baseline" (the older release that the gate is given), "teacher",
            or "student" (the same run's FP32 student in the same format).
    """

    max: float | None = None
    min: float | None = None
    max_regression: float | None = None
    against: Against | None = None

    @property
    def reference(self) -> Against:
        """What `max_regression` is counted from."""
        return self.against or "baseline"

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max is None and self.min is None and self.max_regression is None:
            raise ValueError("a limit needs max, min or max_regression")
        if self.against is not None and self.max_regression is None:
            raise ValueError(
                f'against = "{self.against}" says what max_regression is counted from, but there '
                "is none"
            )
        return self


_TABLES_OF_LIMITS = {"recall", "precision", "f1", "metric"}


class GateRecipe(Section):
    """The budget that a release must keep.

    Attributes:
        bundles: judge only this bundle; if unset every student bundle.
        limits: by metric; `compress gate --help` lists the metrics. Those of a class, or of a
            metric of one's own, may be tables in tables: recall.crack = { min = 95 }.
        baseline: the older release: a measurement, a run folder or a bundle.
        on_inconclusive: what to make of a figure that neither keeps nor breaks its limit: report
            it (exit code 3), count it as pass or fail, or retry N: measure again, and longer, up
            to N times.
        allow_estimate: judge estimates too, of no device.
        history_file: a JSON lines file that each verdict is added to; if unset history.jsonl beside
            the run folder, and of files of measurements alone none. "none" keeps none.
        release: what is judged, for the history: a version, a date.
    """

    bundles: Names | None = None
    limits: dict[str, Limit] = {}
    baseline: str | None = None
    on_inconclusive: str = "report"
    allow_estimate: bool = False
    history_file: Annotated[str, Field(min_length=1)] | None = None
    release: Annotated[str, Field(min_length=1, max_length=100)] | None = None

    @field_validator("limits", mode="before")
    @classmethod
    def _flat(cls, limits: object) -> object:
        """A dot in a key of TOML makes a table of it: "recall.crack" is found under recall."""
        if not isinstance(limits, dict):
            return limits
        flat: dict[object, object] = {}
        for key, value in limits.items():
            if key in _TABLES_OF_LIMITS and isinstance(value, dict):
                flat |= {f"{key}.{name}": limit for name, limit in value.items()}
            else:
                flat[key] = value
        return flat

    @field_validator("on_inconclusive")
    @classmethod
    def _known(cls, word: str) -> str:
        if not _ON_INCONCLUSIVE.fullmatch(word):
            raise ValueError('must be "report", "pass", "fail" or "retry N"')
        if word.startswith("retry") and int(word.split()[1]) > MOST_RETRIES:
            raise ValueError(
                f"may retry {MOST_RETRIES} times at most: each look at a limit can be wrong, and "
                "more of them could not keep what a verdict promises"
            )
        return word

    @property
    def retries(self) -> int:
        """How often to measure again."""
        word, _, times = self.on_inconclusive.partition(" ")
        return int(times) if word == "retry" else 0


_SCHEDULER = re.compile(r"(tcp|tls|ws|wss)://(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):\d{1,5}|\S.*\.json")
_STORAGE = re.compile(r"sqlite:///\S+|postgresql://\S+")
BEST_SINGLE = "best-single"
"""Of the methods by themselves the one that is best on the validation images."""


class StudyRecipe(Section):
    """What `compress study` compares, and over how many seeds.

    Attributes:
        budget: total: all arms have the epochs of all stages together; per-stage: each stage has a
            full schedule of its own, and arms of one schedule are shown with the epochs of one
            stage (ARM-one-stage) and of all.
        seeds: how many seeds each arm is trained with: the recipe's and those that follow it.
        explaining_seeds: of arms that only explain, the first so many; these are all but the
            recipe's own stages, the baseline and what is planned (for best-single each method by
            itself). If unset as many as the others.
        arms: names of the arms; None takes all.
        orders: further arms: the stages in another order, by their methods' names.
        stage_counts: further arms: the first so many stages, on the whole budget where that is the
            total.
        planned: arms that the recipe's own stages are held against, planned before any result:
            differences, intervals, effect sizes, and p values that Holm's procedure corrects for
            their number. best-single is the method that by itself is best on the validation images.
        equal_compute: further arms: each arm of one schedule with so many epochs more as the
            stages' references cost (ARM-equal-compute).
        teacher_seed: one teacher, of this seed, for all seeds; if unset each has its own.
        teachers: folder of the teachers, for studies that ask for the same ones to share; if
            unset the study's own.
        results: a JSON lines file that each result is put into as it comes, small enough to be
            committed. What is in it already counts as done, on any machine; where that is
            everything, neither data nor teachers are needed.
        reference_weights: further arms: each weighting with each of these weights of the reference
            in all stages.
        baseline_schedules: learning-rate schedules that each arm of one schedule is trained with;
            the table has the one that is best on the validation images. If unset the first
            stage's, or cosine where that does not fall to the end.
        ce_weights: weight of the labels in arms of one schedule, by the arm's name, where it is not
            to be what its methods have beside them; 1 with all methods at once.
        own_terms: a further arm: the reference of each stage held by the methods of the one before.
        carry: further arms: all methods of earlier stages kept on at these fractions of their
            weights.
        compare_restarts: further arms: the stages on one schedule, the stages with restarts, and
            all methods at once with the restarts of the stages.
        sakd_methods: feature methods that the SAKD arm is put around; None takes those of the
            stages, or else "at".
        validate_every: epochs of a stage from one look at the validation images to the next, for
            the learning curves; the last is always looked at. No figure of the table depends on it.
        threads: of each arm's process; sums in another order give other last digits, so figures
            depend on it.
        teacher_threads: of each teacher's process; if unset as an arm's. A teacher that was begun
            keeps its own.
        jobs: arms at once; if unset as many as there are cores for. Figures do not depend on it.
        retries: how often an arm or a teacher whose process was killed is begun again, where it was
            stopped.
        scheduler: the address of a Dask scheduler on whose workers arms and teachers are trained:
            tcp://host:8786, tls://host:8786, or the file that the scheduler writes; if unset in
            processes here.
        scheduler_wait: seconds to wait for it, and for its first worker.
    """

    budget: Literal["total", "per-stage"] = "total"
    seeds: Few = 3
    explaining_seeds: Few | None = None
    arms: Names | None = None
    orders: list[list[str]] = []
    stage_counts: list[Few] = []
    planned: list[str] = [BEST_SINGLE, "simultaneous", "sakd"]
    equal_compute: bool = False
    reference_weights: list[Weight] = []
    baseline_schedules: list[Annotated[str, AfterValidator(_known_curve)]] = []
    ce_weights: dict[str, Weight] = {}
    own_terms: bool = False
    carry: list[Share] = []
    compare_restarts: bool = False
    teacher_seed: Seed | None = None
    teachers: str | None = None
    results: str | None = None
    sakd_methods: Names | None = None
    validate_every: Few = 1
    threads: Few = 1
    teacher_threads: Few | None = None
    jobs: Few | None = None
    retries: Annotated[int, Within(0, 100)] = 2
    scheduler: str | None = None
    scheduler_wait: Annotated[float, Within(0, 1e6, above=True)] = 60.0

    @field_validator("scheduler")
    @classmethod
    def _is_an_address(cls, scheduler: str | None) -> str | None:
        if scheduler is not None and not _SCHEDULER.fullmatch(scheduler):
            raise ValueError(
                "must be the address of a Dask scheduler, such as tcp://host:8786 or "
                "tls://host:8786, or the file that it writes, such as scheduler.json"
            )
        return scheduler


Objective = Literal["accuracy", "metric", "latency_p50", "latency_p95", "size", "memory", "energy"]


class SearchRecipe(Section):
    """What `compress search` varies, and what it looks for.

    Attributes:
        trials: how many in all, those of every process that takes part together.
        objectives: what is held against each other: accuracy, of the validation images; metric,
            what the recipe's metric says of them; latency_p50 and latency_p95, measured; size of
            the model's files; peak memory; energy of an image.
        space: by a key of the recipe, as --set takes it, the values that it may have: a list, or a
            range { low, high, step, log }. "unset" in a list leaves the key out.
        stages: by a name, stages in their order; each trial takes one of these instead of the
            recipe's own.
        limits: what no trial is worth its training for that breaks it, such as
            "latency_p95<=20ms" or "size<=0.5MB", as --pick takes them.
        seed: of the search itself; a trial has the recipe's.
        jobs: trials at once in this process.
        threads: of each trial's process.
        retries: how often a trial is begun again whose process was killed.
        storage: where the search is kept, for all processes that take part: sqlite:///FILE or
            postgresql://USER@HOST/DATABASE; if unset search.db in the search's folder.
        lost_after: seconds without a sign of life after which a trial of another process is begun
            again.
    """

    trials: Annotated[int, Within(1, 100_000)] = 30
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["accuracy", "latency_p50"]
    space: dict[str, Any] = {}
    stages: dict[str, Annotated[list[StageRecipe], Field(min_length=1, max_length=100)]] = {}
    limits: list[str] = []
    seed: Seed = 0
    jobs: Few = 1
    threads: Few = 1
    retries: Annotated[int, Within(0, 100)] = 1
    storage: str | None = None
    lost_after: Annotated[int, Within(2, 86_400)] = 60

    @field_validator("objectives")
    @classmethod
    def _names_each_once(cls, objectives: list[Objective]) -> list[Objective]:
        if len(set(objectives)) < len(objectives):
            raise ValueError("must name each once")
        return objectives

    @field_validator("storage")
    @classmethod
    def _is_a_database(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if password_problem(url):
            raise ValueError(
                "a password has no place in a recipe or a command; put it into ~/.pgpass or "
                "PGPASSWORD"
            )
        if not _STORAGE.fullmatch(url):
            raise ValueError("must be sqlite:///FILE or postgresql://USER@HOST/DATABASE")
        return url


class Recipe(Section):
    """The whole road. Every option that says how something is done has its place here; every key of
    `export` and `bench` has an option of its own, and --set of `run`, `distill`, `export` and
    `study` reaches them all.

    Attributes:
        metric: what networks are judged by beside top-1, and chosen by in its place: macro_f1,
            macro_recall, macro_precision, worst_recall, top5, auroc, or package.module:function.
        teachers: several teachers in place of one: their probabilities are meaned, each by its
            weight, and a stage may name one of them by itself.
        teacher_mix: how much each of several teachers counts for an image, beside its weight:
            average, all alike; confidence, by the probability of what it answers; entropy, by how
            far its answer is from knowing nothing.
    """

    LATER: ClassVar[tuple[str, ...]] = ("teachers", "teacher_mix")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "run"
    seed: Seed = 0
    metric: Annotated[str, Field(min_length=1)] | None = None
    data: DataRecipe = DataRecipe()
    teacher: TeacherRecipe = TeacherRecipe()
    teachers: Annotated[list[MemberRecipe], Field(max_length=32)] = []
    teacher_mix: Literal["average", "confidence", "entropy"] = "average"
    student: StudentRecipe = StudentRecipe()
    stages: Annotated[list[StageRecipe], Field(min_length=1, max_length=100)] = [
        # What measured best: docs/results.md.
        StageRecipe(methods=(MethodRecipe("at"),), epochs=6, hold_epochs=6.0),
        StageRecipe(methods=(MethodRecipe("kd"),), epochs=24),
    ]
    engine: EngineRecipe = EngineRecipe()
    export: ExportRecipe = ExportRecipe()
    bench: BenchRecipe = BenchRecipe()
    gate: GateRecipe = GateRecipe()
    study: StudyRecipe = StudyRecipe()
    search: SearchRecipe | None = None

    @model_validator(mode="after")
    def _has_teachers_that_go_together(self) -> Self:
        names = [member.name for member in self.teachers]
        if len(names) == 1:
            raise ValueError(
                f"teachers are two or more, but got {names[0]!r} alone; write it as [teacher]"
            )
        if len(set(names)) < len(names):
            raise ValueError(f"each of several teachers has a name of its own, but got {names}")
        for number, stage in enumerate(self.stages, start=1):
            if stage.teacher is not None and stage.teacher not in names:
                known = ", ".join(map(repr, names)) or "none, for [[teachers]] has none"
                raise ValueError(
                    f"stage {number} has teacher {stage.teacher!r}, but those with names are "
                    f"{known}"
                )
        own, several = self.teacher, bool(names)
        if not several and own.model == MIXED:
            raise ValueError(f"teacher.model = {MIXED!r} is several: write them as [[teachers]]")
        if several and ("model" in own.model_fields_set and own.model != MIXED):
            raise ValueError(
                f"there are [[teachers]], and teacher.model = {own.model!r} beside them; leave out "
                "one of them"
            )
        if several and (own.weights or own.taps or own.preprocessing or own.settings):
            raise ValueError(
                "weights, settings, taps and preprocessing are those of each of several teachers; "
                "write them in [[teachers]]"
            )
        if several and (own.head is not None or own.is_fine_tuned):
            raise ValueError(
                "several teachers are finished ones, and none has its layers made anew or is "
                "fine-tuned; leave out teacher.head and teacher.training.weights"
            )
        if not several and self.teacher_mix != "average":
            raise ValueError(
                f'teacher_mix = "{self.teacher_mix}" is of several teachers; write them as '
                "[[teachers]], or leave it out"
            )
        if several:
            self.__dict__["teacher"] = own.model_copy(update={"model": MIXED})
        return self

    @model_validator(mode="after")
    def _has_stages_that_go_together(self) -> Self:
        self._name_schedules()
        check_sequence(self.stages)
        for stage in self.stages:
            if stage.shares_schedule and stage.prune is not None:
                raise ValueError(
                    "what a shared schedule carries over, momentum too, does not fit a student "
                    f"that was pruned, but got prune = {stage.prune}; name a schedule of its own"
                )
        if self.student.train_alone and any(stage.prune is not None for stage in self.stages):
            raise ValueError(
                "student.train_alone compares two of one size, but a stage begins with pruning; "
                "leave train_alone out, or prune before the first stage, with student.prune"
            )
        if self.search is not None and "metric" in self.search.objectives and self.metric is None:
            raise ValueError(
                "search.objectives names metric, but the recipe has none; set metric, such as "
                'metric = "macro_f1"'
            )
        last = self.stages[-1]
        if last.quantized and len(self.stages) == 1:
            raise ValueError(
                "a stage that quantises goes on from a trained student, but it is the only stage; "
                "put another before it"
            )
        if last.quantized and last.prune is not None:
            raise ValueError(
                f"a stage that quantises cannot begin with pruning, but got prune = {last.prune}; "
                "prune before an earlier stage"
            )
        return self

    def _name_schedules(self) -> None:
        """Give a stage that names no schedule the one that follows from the stages around it, so
        that whoever reads the recipe finds it there."""
        full = self.study.budget == "per-stage"
        # What a shared schedule carries over, momentum too, does not fit a pruned student.
        apart = {n for n, stage in enumerate(self.stages) if full or stage.prune is not None}
        self.__dict__["stages"] = with_schedules(self.stages, apart)

    @property
    def learns_integers(self) -> bool:
        """Whether the last stage trains the student with 8-bit numbers."""
        return self.stages[-1].quantized

    def spelled_out(self) -> Self:
        """The same with the weights that its stages leave to the methods; this imports torch.

        Raises:
            UnknownNameError: when there is no such method.
        """
        from smskd.objective import spelled_out  # noqa: PLC0415 - torch

        return self.model_copy(update={"stages": [spelled_out(stage) for stage in self.stages]})

    def pruned_before(self, number: int) -> float | None:
        """Share of the student's channels that goes before a stage, counted from 1; or None."""
        return self.student.prune if number == 1 else self.stages[number - 1].prune


def own_schedules(recipe: Recipe) -> dict[str, Any]:
    """Changes to a recipe, by place, that give each stage the whole of the curve that it shares."""
    leaders = [leader_of(recipe.stages, place) for place in range(len(recipe.stages))]
    changes: dict[str, Any] = {}
    for place, leader in enumerate(leaders):
        if leaders.count(leader) > 1:
            curve = own_curve(recipe.stages[leader])
            changes |= {f"stages.{place}.{key}": value for key, value in curve.items()}
    return changes
