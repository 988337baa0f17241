"""The names of AugReg's released checkpoints, which say how each was trained.

"How to train your ViT?" (Steiner et al., 2022) released 759 pretrained models: nine architectures
on three data sets, each with 28 combinations of augmentation, weight decay and regularization, and
B with patches of 8 pixels three times; and the fine-tunes of all of them. A name is

    {model}-{data}-{epochs}ep-lr_{lr}-aug_{level}-wd_{decay}-do_{dropout}-sd_{stochastic depth}

and of a fine-tune, behind it, `--{data}-steps_{thousands}k-lr_{lr}-res_{side}`.
"""

import dataclasses
import re
from typing import NamedTuple

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.models import list_models

# The names of the models here, without the image size.
MODELS = {
    "Ti_16": "vit_tiny_patch16",
    "S_32": "vit_small_patch32",
    "S_16": "vit_small_patch16",
    "B_32": "vit_base_patch32",
    "B_16": "vit_base_patch16",
    "B_8": "vit_base_patch8",
    "L_16": "vit_large_patch16",
    "R_Ti_16": "vit_tiny_r_s16_p8",
    "R26_S_32": "vit_small_r26_s32",
    "R50_L_32": "vit_large_r50_s32",
}
# Classes of the pretraining, which has 300 epochs but for 30 in "i21k_30".
CLASSES = {"i1k": 1000, "i21k": 21_843, "i21k_30": 21_843}
# The authors list seven levels of augmentation in their names and seven in their configurations,
# and count the light ones from 0 here and from 1 there. That the names mean this is not published.
LEVELS = {
    "none": "none",
    "light0": "light1",
    "light1": "light2",
    **{name: name for name in ("medium1", "medium2", "strong1", "strong2")},
}
PRETRAINING_SIZE = 224
_RATES = (0.001, 0.003, 0.01, 0.03)


class Transfer(NamedTuple):
    """What the authors tried on a data set, at 224 and 384 pixels.

    Attributes:
        images: number of training images, from VTAB (Zhai et al., 2019) for all but ImageNet.
        classes: number of classes.
        steps: numbers of steps, of 512 images each.
        learning_rates: largest learning rates.
    """

    images: int
    classes: int
    steps: tuple[int, ...]
    learning_rates: tuple[float, ...]


TRANSFERS = {
    "imagenet2012": Transfer(1_281_167, 1000, (20_000,), (0.01, 0.03)),
    "cifar100": Transfer(50_000, 100, (2_500, 10_000), _RATES),
    "resisc45": Transfer(25_200, 45, (2_500, 10_000), _RATES),
    "kitti": Transfer(6_770, 4, (500, 2_500), _RATES),
    "oxford_iiit_pet": Transfer(3_680, 37, (500, 2_500), _RATES),
}


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """How a pretrained checkpoint was fine-tuned, in batches of 512 images.

    Attributes:
        data: name of the data set in TensorFlow Datasets.
        steps: number of steps.
        learning_rate: largest learning rate.
        image_size: side of the images in pixels.
    """

    data: str
    steps: int
    learning_rate: float
    image_size: int

    def __str__(self):
        # 500 steps are written as 0k, and 2,500 as 2k.
        steps = f"steps_{self.steps // 1000}k"
        return f"{self.data}-{steps}-lr_{self.learning_rate}-res_{self.image_size}"


@dataclasses.dataclass(frozen=True)
class AugRegCheckpoint:
    """How a released checkpoint was trained. `str` returns its name, without the ending .npz.

    Attributes:
        architecture: one of `MODELS`.
        data: one of `CLASSES`.
        epochs: number of epochs of the pretraining.
        learning_rate: its largest learning rate.
        augmentation: its level of augmentation, one of `LEVELS`.
        weight_decay: its weight decay, a factor of the learning rate.
        dropout_rate, drop_path_rate: its regularization.
        fine_tuning: None if it is not fine-tuned.
    """

    architecture: str
    data: str
    epochs: int
    learning_rate: float
    augmentation: str
    weight_decay: float
    dropout_rate: float
    drop_path_rate: float
    fine_tuning: FineTuning | None = None

    def __str__(self):
        name = (
            f"{self.architecture}-{self.data}-{self.epochs}ep-lr_{self.learning_rate}"
            f"-aug_{self.augmentation}-wd_{self.weight_decay}-do_{self.dropout_rate}"
            f"-sd_{self.drop_path_rate}"
        )
        return name if self.fine_tuning is None else f"{name}--{self.fine_tuning}"

    @property
    def image_size(self) -> int:
        """The side in pixels of the images that it takes."""
        return PRETRAINING_SIZE if self.fine_tuning is None else self.fine_tuning.image_size

    @property
    def classes(self) -> int | None:
        """The number of classes of its head; None if the fine-tuning's is not known here."""
        if self.fine_tuning is None:
            return CLASSES[self.data]
        transfer = TRANSFERS.get(self.fine_tuning.data)
        return transfer and transfer.classes

    def model(self, image_size: int | None = None) -> str:
        """Returns the name of the model, for images of a size in pixels or of its own."""
        name = f"{MODELS[self.architecture]}_{image_size or self.image_size}"
        # B with patches of 8 pixels has no name for 384.
        return name if list_models(name) else f"{MODELS[self.architecture]}_{PRETRAINING_SIZE}"


_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"
_PRETRAINING = re.compile(
    rf"(\w+)-({'|'.join(CLASSES)})-(\d+)ep-lr_({_NUMBER})-aug_(\w+)-wd_({_NUMBER})"
    rf"-do_({_NUMBER})-sd_({_NUMBER})"
)
_FINE_TUNING = re.compile(rf"([\w.]+)-steps_(\d+)k-lr_({_NUMBER})-res_(\d+)")
_EXAMPLE = "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0.npz"
_ROUNDED_STEPS = {0: 500, 2: 2_500}


def parse_checkpoint(name: str) -> AugRegCheckpoint:
    """Returns what the name of a checkpoint says.

    Args:
        name: with or without its folder and its ending .npz.

    Raises:
        InputError: it is not the name of a checkpoint of AugReg.
    """
    stem = re.split(r"[/\\]", name)[-1].removesuffix(".npz")
    pretrained, fine_tuned, rest = stem.partition("--")
    found = _PRETRAINING.fullmatch(pretrained)
    tuned = _FINE_TUNING.fullmatch(rest)
    if found is None or (fine_tuned and tuned is None):
        raise InputError(f"{name!r} is not the name of a checkpoint of AugReg, such as {_EXAMPLE}.")
    architecture, data, epochs, rate, level, *rates = found.groups()
    for kind, value, known in (
        ("architecture of AugReg", architecture, MODELS),
        ("level of augmentation", level, LEVELS),
    ):
        if value not in known:
            raise unknown_name(kind, value, known)
    return AugRegCheckpoint(
        *(architecture, data, int(epochs), float(rate), level),
        *map(float, rates),
        fine_tuning=tuned and _fine_tuning(*tuned.groups()),
    )


def _fine_tuning(data: str, thousands: str, rate: str, size: str) -> FineTuning:
    steps = _ROUNDED_STEPS.get(int(thousands), 1000 * int(thousands))
    return FineTuning(data, steps, float(rate), int(size))
