"""Studies of augmentation and of other parts of a recipe."""

from keras_deit.recipes.augreg import LEVELS
from keras_deit.studies.catalog.common import (
    CROPS,
    HARD,
    IMAGENET,
    LETTERS,
    SMALL,
    THESIS,
    TOKEN,
    distilled,
)
from keras_deit.studies.definition import Cell, Claim, Figure, StudyDefinition, register_study

_AUGMENTED = {"auto_augment": "rand-m9-mstd0.5-inc1", "mixup_alpha": 0.8, "cutmix_alpha": 1.0}
_NONE = {
    "auto_augment": "none",
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "erase_probability": 0.0,
    "color_jitter": 0.0,
    "crop_scale": (1.0, 1.0),
}

register_study(
    StudyDefinition(
        name="augmentation",
        title="ViT, distilled DeiT, and distilled DeiT with augmentation",
        source="a study of ViT, DeiT and DeiT with augmentation on CIFAR-10",
        cells=(
            Cell("ViT", {"distillation": "none", **_NONE}),
            Cell("DeiT", **distilled(HARD, distilled=True, **_NONE)),
            Cell("DeiT, augmentation", **TOKEN),
        ),
        claims=(
            Claim("DeiT", "ViT", "Distillation helps without augmentation."),
            Claim("DeiT, augmentation", "DeiT", "Augmentation helps the distilled model."),
        ),
        datasets=("crops40",),
        reason=CROPS,
        small=SMALL,
        paper={"dataset": "cifar10", "recipe": "cifar10_scratch", "epochs": 20},
        figures=tuple(
            Figure(name.replace("_", " "), ("figures", "fused", name))
            for name in ("macro_precision", "macro_recall", "macro_f1", "macro_auc", "log_loss")
        ),
    )
)

register_study(
    StudyDefinition(
        name="ablation",
        title="each part of DeiT's recipe left out or replaced",
        source=f"{THESIS}, table 3.8, DeiT-B at 224",
        cells=(
            Cell("default", published=81.8),
            Cell("SGD", {"optimizer": "sgd"}, published=74.5),
            Cell("no RandAugment", {"auto_augment": "none"}, published=79.6),
            Cell("AutoAugment", {"auto_augment": "original-mstd0.5"}, published=81.2),
            Cell("no Mixup", {"mixup_alpha": 0.0}, published=78.7),
            Cell("no CutMix", {"cutmix_alpha": 0.0}, published=80.0),
            Cell("no Mixup, no CutMix", {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}, published=75.8),
            Cell("no erasing", {"erase_probability": 0.0}, published=4.3),
            Cell("no stochastic depth", {"drop_path_rate": 0.0}, published=3.4),
            Cell("no repeated augmentation", {"repeated_augmentation": 1}, published=76.5),
            Cell("dropout", {"dropout_rate": 0.1}, published=81.3),
            Cell("EMA", {"ema_decay": 0.99996}, small={"ema_decay": 0.99}, published=81.9),
        ),
        claims=(
            Claim("default", "SGD", "AdamW is better than SGD."),
            Claim("default", "no RandAugment", "RandAugment helps."),
            Claim("default", "no Mixup, no CutMix", "Mixed images help."),
            Claim("default", "no erasing", "Random erasing helps."),
            Claim("default", "no stochastic depth", "Stochastic depth helps."),
            Claim("default", "no repeated augmentation", "Repeated augmentation helps."),
            Claim("default", "dropout", "Dropout does not help."),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small={
            **SMALL,
            **_AUGMENTED,
            "steps": 360,
            "erase_probability": 0.25,
            "drop_path_rate": 0.1,
            "repeated_augmentation": 3,
        },
        paper={**IMAGENET, "recipe": "deit", "model": "deit_base_patch16_224"},
    )
)


def _level(name: str, regularized: bool) -> dict:
    auto_augment, mixup_alpha = LEVELS[name]
    rate = 0.1 if regularized else 0.0
    return {
        "auto_augment": auto_augment,
        "mixup_alpha": mixup_alpha,
        "dropout_rate": rate,
        "drop_path_rate": rate,
    }


_SIZES = {
    "small": ({"embed_dim": 32, "num_heads": 1}, {"model": "vit_small_patch16_224"}),
    "base": ({"embed_dim": 64, "num_heads": 2}, {"model": "vit_base_patch16_224"}),
}


def _augreg_cell(size: str, level: str, regularized: bool) -> Cell:
    small, paper = _SIZES[size]
    name = f"{size}, {level}{', regularized' if regularized else ''}"
    return Cell(name, _level(level, regularized), small=small, paper=paper)


register_study(
    StudyDefinition(
        name="augreg",
        title="levels of augmentation, with and without regularization, by size of the model",
        source="How to train your ViT? (Steiner et al., 2022), figure 4",
        cells=tuple(
            _augreg_cell(size, level, regularized)
            for size in _SIZES
            for level in LEVELS
            for regularized in (False, True)
        ),
        claims=(
            Claim("base, medium1", "base, none", "Augmentation helps small data."),
            Claim("small, none", "small, none, regularized", "Regularization hurts small models."),
            Claim("base, medium1", "base, none, regularized", "Augmentation is the better one."),
            Claim("base, medium1", "small, medium1", "With augmentation a larger model is better."),
        ),
        datasets=("crops40",),
        reason=CROPS,
        small={**SMALL, "steps": 200, "cutmix_alpha": 0.0, "stem": "linear"},
        paper={**IMAGENET, "recipe": "augreg_none"},
        remarks="Widths 32 and 64 stand for ViT-S and ViT-B.",
    )
)

_WIDER = {
    "small": {"embed_dim": 96, "num_heads": 3},
    "paper": {"model": "deit_base_patch16_224"},
}
_LAYER_SCALE = {"residual": "layer_scale", "layer_scale_init": 1e-4}
_DEIT3 = {"loss": "binary_cross_entropy", "auto_augment": "3a", **_LAYER_SCALE}

register_study(
    StudyDefinition(
        name="recipes",
        title="parts of DeiT III's recipe",
        source=f"{THESIS}, table 6.4, ViT-S",
        cells=(
            Cell("cross-entropy", {"loss": "cross_entropy"}, published=79.8),
            Cell("binary cross-entropy", {"loss": "binary_cross_entropy"}, published=79.8),
            Cell(
                "and LayerScale",
                {"loss": "binary_cross_entropy", **_LAYER_SCALE},
                published=80.1,
            ),
            Cell("and 3-Augment", _DEIT3, published=80.4),
            Cell("wider, cross-entropy", {"loss": "cross_entropy"}, **_WIDER),
            Cell("wider, and 3-Augment", _DEIT3, **_WIDER),
        ),
        claims=(
            Claim("and LayerScale", "binary cross-entropy", "LayerScale helps."),
            Claim("and 3-Augment", "cross-entropy", "All together are better than DeiT's recipe."),
            Claim("wider, and 3-Augment", "wider, cross-entropy", "So they are for a wider model."),
        ),
        datasets=("crops40",),
        reason=CROPS,
        small={**SMALL, **_AUGMENTED, "steps": 400, "label_smoothing": 0.0},
        paper={
            **IMAGENET,
            **{"recipe": "deit3_1k", "model": "deit_small_patch16_224"},
            "auto_augment": _AUGMENTED["auto_augment"],
        },
    )
)

_RATES = {"learning_rate": 3e-4, "warmup_steps": 0, "warmup_learning_rate": 0.0}
# A step that changes nothing: the model is only evaluated at another size.
_UNCHANGED = {
    "steps": 1,
    "learning_rate": 1e-12,
    "min_learning_rate": 0.0,
    "weight_decay": 0.0,
}
_SMALL_UNCHANGED = {**_UNCHANGED, "warmup_steps": 0}
_PAPER_UNCHANGED = {**_UNCHANGED, "warmup_epochs": 0}

register_study(
    StudyDefinition(
        name="resolution",
        title="size of the images in training, fine-tuning and test, and the crop ratio",
        source=f"{THESIS}, tables 3.10 and 3.22, DeiT-B",
        cells=(
            Cell("trained at 224", small={"image_size": 24}, published=81.8),
            Cell(
                "trained at 224, tested at 384",
                small={"image_size": 32, "weights": "run:trained at 224", **_SMALL_UNCHANGED},
                paper={"image_size": 384, "weights": "run:trained at 224", **_PAPER_UNCHANGED},
            ),
            Cell(
                "fine-tuned at 384",
                small={"image_size": 32, "weights": "run:trained at 224", "steps": 240, **_RATES},
                paper={"recipe": "deit_finetune_384", "weights": "run:trained at 224"},
                published=83.1,
            ),
            Cell(
                "fine-tuned at 384, crop ratio 0.875",
                {"evaluation_crop_ratio": 0.875},
                small={"image_size": 32, "weights": "run:fine-tuned at 384", **_SMALL_UNCHANGED},
                paper={"image_size": 384, "weights": "run:fine-tuned at 384", **_PAPER_UNCHANGED},
            ),
        ),
        claims=(
            Claim("fine-tuned at 384", "trained at 224", "Fine-tuning at a larger size helps."),
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
        remarks="24 and 32 pixels stand for 224 and 384.",
    )
)
