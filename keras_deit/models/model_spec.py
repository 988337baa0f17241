"""One row of the model table."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A published configuration and what its authors report of it.

    Attributes:
        name: as timm names it, or in its style.
        architecture: the class that builds it.
        config: the constructor arguments that differ from that class's own.
        parameters: exact count, with 1,000 classes.
        top1, top5: of the released weights on ImageNet-1k's validation set, in per cent.
        crop_ratio: of the evaluation: the shorter side is resized to image size / crop ratio,
            then the centre is cropped.
        interpolation: of that resize.
        source: where the published figures stand.
    """

    name: str
    architecture: type
    config: dict
    parameters: int
    top1: float
    top5: float
    crop_ratio: float
    interpolation: str
    source: str
