"""Studies of the size of the images."""

from keras_deit.studies.catalog.common import (
    AS_BEFORE,
    IMAGENET,
    LETTERS,
    SMALL,
    THESIS,
)
from keras_deit.studies.definition import (
    Cell,
    Claim,
    StudyDefinition,
    register_study,
)

# A step that changes nothing, not even the statistics of batch normalization: the model is only
# evaluated at another size.
_UNCHANGED = {
    "steps": 1,
    "learning_rate": 1e-12,
    "min_learning_rate": 0.0,
    "weight_decay": 0.0,
    "training_mode": False,
}
_SMALL_UNCHANGED = {**AS_BEFORE, **_UNCHANGED}
_PAPER_UNCHANGED = {**_UNCHANGED, "warmup_epochs": 0}
# Sides of images at the scale "small" by those of the publication, with top-1 after fine-tuning.
_FINE_TUNED = {160: (16, 79.9), 320: (28, 82.7), 384: (32, 83.1)}


def _fine_tuned_cell(side: int) -> Cell:
    small_side, published = _FINE_TUNED[side]
    if side == 384:
        model = {"model": "deit_base_patch16_384", "evaluation_crop_ratio": 1.0}
    else:
        model = {"model": "deit_base_patch16_224", "image_size": side}
    return Cell(
        f"fine-tuned at {side}",
        {"weights": "run:trained at 224"},
        small={**AS_BEFORE, "image_size": small_side, "steps": 480, "learning_rate": 3e-4},
        paper={"recipe": "deit_finetune_384", **model},
        published=published,
    )


register_study(
    StudyDefinition(
        name="resolution",
        title="size of the images in training, fine-tuning and test, and the crop ratio",
        source=f"{THESIS}, table 3.10, DeiT-B; the crop ratio as in table 3.22, of CaiT",
        cells=(
            Cell("trained at 224", small={"image_size": 24}, published=81.8),
            Cell(
                "trained at 224, tested at 384",
                small={"image_size": 32, "weights": "run:trained at 224", **_SMALL_UNCHANGED},
                paper={"image_size": 384, "weights": "run:trained at 224", **_PAPER_UNCHANGED},
            ),
            *map(_fine_tuned_cell, _FINE_TUNED),
            Cell(
                "fine-tuned at 384, crop ratio 0.875",
                small={
                    **{"image_size": 32, "weights": "run:fine-tuned at 384"},
                    **{**_SMALL_UNCHANGED, "evaluation_crop_ratio": 0.875},
                },
                paper={
                    **{"model": "deit_base_patch16_384", "weights": "run:fine-tuned at 384"},
                    **{**_PAPER_UNCHANGED, "evaluation_crop_ratio": 0.875},
                },
                published=82.9,
            ),
            Cell(
                "trained further at 224",
                small={
                    **AS_BEFORE,
                    **{"image_size": 24, "weights": "run:trained at 224"},
                    **{"steps": 480, "learning_rate": 3e-4},
                },
                paper={
                    **{"recipe": "deit_finetune_384", "model": "deit_base_patch16_224"},
                    "weights": "run:trained at 224",
                },
            ),
        ),
        claims=(
            Claim("fine-tuned at 384", "trained at 224", "Fine-tuning at a larger size helps."),
            Claim("fine-tuned at 384", "fine-tuned at 160", "At a smaller size it does not."),
            Claim(
                "fine-tuned at 384",
                "trained further at 224",
                "It helps more than as many further steps at the same size.",
            ),
            Claim(
                "fine-tuned at 384",
                "trained at 224, tested at 384",
                "It helps more than testing at the larger size alone.",
            ),
            Claim(
                "fine-tuned at 384",
                "fine-tuned at 384, crop ratio 0.875",
                "A crop ratio of 1 is better than 0.875.",
            ),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small={**SMALL, "patch_size": 4, "evaluation_crop_ratio": 1.0},
        paper={**IMAGENET, "recipe": "deit", "model": "deit_base_patch16_224"},
        seeds="0:5",
        remarks="16, 24, 28 and 32 pixels stand for 160, 224, 320 and 384.",
    )
)

_TRAIN_SIDES = {128: 12, 160: 16, 192: 20}


def _train_size_cells(side: int, published: float) -> tuple[Cell, Cell]:
    first = f"trained at {side}"
    return (
        Cell(first, small={"image_size": _TRAIN_SIDES[side]}, paper={"image_size": side}),
        Cell(
            f"{first}, fine-tuned at 224",
            {"weights": f"run:{first}"},
            small={**AS_BEFORE, "image_size": 24, "steps": 240, "learning_rate": 3e-4},
            paper={"recipe": "deit3_1k_finetune"},
            published=published,
        ),
    )


register_study(
    StudyDefinition(
        name="train_size",
        title="training at a smaller size and fine-tuning at the final one",
        source=f"{THESIS}, table 6.6, DeiT III's ViT-B, 400 epochs",
        cells=(
            *_train_size_cells(128, 83.2),
            *_train_size_cells(160, 83.3),
            *_train_size_cells(192, 83.5),
            Cell("trained at 224", small={"image_size": 24}, published=83.1),
            Cell(
                "trained further at 224",
                {"weights": "run:trained at 224"},
                small={**AS_BEFORE, "image_size": 24, "steps": 240, "learning_rate": 3e-4},
                paper={"recipe": "deit3_1k_finetune"},
            ),
        ),
        claims=(
            *(
                Claim(
                    f"trained at {side}, fine-tuned at 224",
                    "trained at 224",
                    f"Training at {side} and fine-tuning is better than training at 224.",
                )
                for side in _TRAIN_SIDES
            ),
            Claim(
                "trained at 192, fine-tuned at 224",
                "trained further at 224",
                "It is not only for the further steps.",
            ),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small={**SMALL, "patch_size": 4, "evaluation_crop_ratio": 1.0},
        paper={**IMAGENET, "recipe": "deit3_1k_400", "model": "deit3_base_patch16_224"},
        seeds="0:5",
        remarks="12, 16, 20 and 24 pixels stand for 128, 160, 192 and 224.",
    )
)
