"""One row of the model table."""

import dataclasses

from keras_deit.models.image_format import IMAGENET_MEAN, IMAGENET_STD


@dataclasses.dataclass(frozen=True)
class Result:
    """What one way of training made of a configuration, on ImageNet-1k's validation set.

    Attributes:
        training: the data, and whether a teacher was there: "1k", "1k distilled", "21k → 1k", ...
        top1, top5: in per cent; None where it was not published.
        source: where the figures stand.
        files: the released weights as their publishers name them: a file of the authors, or
            "hf://timm/NAME" and "hf://facebook/NAME". Empty where none were released.
    """

    training: str
    top1: float
    top5: float | None
    source: str
    files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A published configuration and what is reported of it.

    Attributes:
        name: as timm names it; where timm lacks it, as its authors do or in timm's style.
        architecture: the class that builds it.
        config: the constructor arguments that differ from that class's own; `image_size`, the
            size it is evaluated at, is always among them.
        parameters: exact count, with 1,000 classes.
        gmacs: 10⁹ multiply-adds for one image, as `count_macs` counts them, to four digits.
        published_gmacs: the same in the authors' tables ("FLOPs" there), or None.
        results: by training, the reference one first; empty where none were published.
        crop_ratio: of the evaluation: the shorter side is resized to image size / crop ratio,
            then the centre is cropped.
        interpolation: of that resize.
        mean, std: of the normalisation of pixels in [0, 1].
        licence: of the code and the released weights.
        source: where the configuration stands.
        published_drop_path: stochastic-depth rate of the reference training, or of its last part
            where that had another size, as its authors set it; None where it was not published.
            `config` leaves the rate at 0; a recipe sets it.
    """

    name: str
    architecture: type
    config: dict
    parameters: int
    gmacs: float
    published_gmacs: float | None
    results: tuple[Result, ...]
    crop_ratio: float
    source: str
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    licence: str = "Apache-2.0"
    published_drop_path: float | None = None

    @property
    def image_size(self) -> int:
        """Side in pixels that it is evaluated at."""
        return self.config["image_size"]

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
