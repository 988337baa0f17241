"""One row of the model table."""

import dataclasses

from keras_deit.core.image_format import IMAGENET_MEAN, IMAGENET_STD

# What released weights have on ReaL and V2, measured by others than their authors.
TIMM_RESULTS = (
    "measured by timm: github.com/huggingface/pytorch-image-models, results/results-imagenet-real"
    ".csv and results-imagenetv2-matched-frequency.csv"
)


@dataclasses.dataclass(frozen=True)
class Result:
    """What one training of a configuration reached on ImageNet-1k's validation set.

    Attributes:
        training: the data, and whether there was a teacher: "1k", "1k distilled", "21k → 1k", ...
        top1, top5: in percent; None if it was not published.
        source: source of the figures.
        files: the released weights as their publishers name them: a file of the authors, or
            "hf://timm/NAME" and "hf://facebook/NAME". Empty if none were released.
        real, v2: top-1 in percent with the labels of ReaL (Beyer et al., 2020), and on ImageNet-V2
            (Recht et al., 2019; matched frequency); None if it was not published.
        further_source: source of these.
    """

    training: str
    top1: float
    top5: float | None = None
    source: str = ""
    files: tuple[str, ...] = ()
    real: float | None = None
    v2: float | None = None
    further_source: str = ""


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A configuration and what is published about it.

    Attributes:
        name: as in timm; if timm lacks the model, as in its authors' code or in timm's style.
        family: the class that builds it.
        config: the constructor arguments that differ from the defaults of that class.
        parameters: exact count, with 1,000 classes or as many as `config` has, and without the
            statistics of batch normalizations; None if it is not known.
        gmacs: 10⁹ multiply-adds for one image, as `count_macs` counts them, to four digits.
        published_gmacs: the same in the authors' tables ("FLOPs" there), or None.
        gops: 10⁹ operations of a model with binary layers, as `count_operations` counts them, to
            four digits; None for other models.
        published_gops: the same in the authors' tables, or None.
        results: by training, the reference training first.
        crop_ratio: crop ratio of the evaluation: the shorter side is resized to image size / crop
            ratio, then the center is cropped.
        interpolation: interpolation of that resize.
        mean, std: mean and standard deviation of the normalization of pixels in [0, 1].
        license: license of the code and the released weights.
        source: source of the configuration.
    """

    name: str
    family: type
    config: dict
    parameters: int | None = None
    gmacs: float | None = None
    published_gmacs: float | None = None
    gops: float | None = None
    published_gops: float | None = None
    results: tuple[Result, ...] = ()
    crop_ratio: float = 0.875
    source: str = ""
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    license: str = "Apache-2.0"

    @property
    def image_size(self) -> int | None:
        """The side in pixels that it is evaluated at; None if it is the family's default."""
        return self.config.get("image_size")

    @property
    def top1(self) -> float | None:
        """Of the reference training."""
        return self.results[0].top1 if self.results else None

    @property
    def top5(self) -> float | None:
        """Of the reference training."""
        return self.results[0].top5 if self.results else None

    @property
    def files(self) -> tuple[str, ...]:
        """Every released file of every training."""
        return tuple(file for result in self.results for file in result.files)

    def result(self, training: str) -> Result | None:
        """Returns the result of a training; None if none was published."""
        return next((result for result in self.results if result.training == training), None)
