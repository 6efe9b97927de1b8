"""The section of the data: where images come from, how they are prepared and varied."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from deploy_targets.device.options import (
    Batch,
)
from foundation.limits import Within
from pipeline.recipe.sections.values import (
    Change,
    ChannelMean,
    Count,
    Few,
    Fraction,
    NotNegative,
    Positive,
    Section,
    Seed,
    Shade,
    Side,
    Sides,
)

AUGMENT_PRESETS: dict[str, dict[str, float | bool]] = {
    "imagenet": {"crop_min_area": 0.08, "flip": True},
    "cifar": {"shift": 4, "flip": True},
}
"""What a preset of `data.augment` sets, where a key is not written down."""


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
