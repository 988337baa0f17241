"""Studies of augmentation and of other parts of a recipe."""

from dataclasses import fields

from keras_deit.recipes.augreg import LEVELS
from keras_deit.recipes.teacher_recipe import SMALL_DATA_AUGMENTATION
from keras_deit.studies.catalog.common import (
    CROPS,
    IMAGENET,
    LETTERS,
    SMALL,
    SOFT,
    THESIS,
    distilled,
)
from keras_deit.studies.definition import (
    SCALES,
    Cell,
    Claim,
    Figure,
    StudyDefinition,
    register_study,
)

_AUGMENTED = {"auto_augment": "rand-m9-mstd0.5-inc1", "mixup_alpha": 0.8, "cutmix_alpha": 1.0}
_NONE = {
    "auto_augment": "none",
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "erase_probability": 0.0,
    "color_jitter": 0.0,
    "crop": "none",
    "flip_probability": 0.0,
    "repeated_augmentation": 1,
}

_IMAGE_AUGMENTATION = {
    **{"crop": "random_crop", "flip_probability": 0.5, "color_jitter": 0.4},
    **{"erase_probability": 0.25, "mixup_alpha": 0.8, "cutmix_alpha": 1.0},
}
_SIX_FIGURES = {
    "top-5": "top5",
    "F1": "macro_f1",
    "AUC": "macro_auc",
    "precision": "macro_precision",
    "recall": "macro_recall",
}


def _six_figures_cell(name: str, published: tuple[float, ...], **options) -> Cell:
    top1, top5, *others = published
    figures = dict(zip(_SIX_FIGURES, (top5 / 100, *others), strict=True))
    return Cell(name, published=top1, published_figures=figures, **options)


register_study(
    StudyDefinition(
        name="augmentation",
        title="ViT, distilled DeiT, and distilled DeiT with augmentation",
        source="a study of ViT, DeiT and DeiT with augmentation on CIFAR-10",
        cells=(
            _six_figures_cell(
                "ViT", (63.9, 96.7, 0.642, 0.938, 0.655, 0.639), options={"distillation": "none"}
            ),
            _six_figures_cell(
                "DeiT",
                (67.6, 96.7, 0.675, 0.949, 0.679, 0.676),
                **distilled(SOFT, distilled=True),
            ),
            _six_figures_cell(
                "DeiT, augmentation",
                (70.7, 97.6, 0.706, 0.957, 0.707, 0.707),
                **distilled(SOFT, distilled=True, **_IMAGE_AUGMENTATION),
            ),
        ),
        claims=(
            Claim("DeiT", "ViT", "Distillation helps without augmentation."),
            Claim("DeiT, augmentation", "DeiT", "Augmentation helps the distilled model."),
        ),
        datasets=("crops40",),
        reason=CROPS,
        small={**SMALL, **_NONE},
        paper={"dataset": "cifar10", "recipe": "cifar10_scratch", "epochs": 20, **_NONE},
        figures=tuple(
            Figure(name, ("figures", "fused", path)) for name, path in _SIX_FIGURES.items()
        ),
        remarks=(
            "As published DeiT has a top-1 of 63.9 and a recall of 67.6, which are the same on "
            "classes of equal size; the table has 67.6. The published teacher is a ResNet-50 whose "
            "training is not stated; here each of the two distilled rows has its own, which sees "
            "the augmented images of its student."
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
            Cell("SGD", {"optimizer": "sgd"}, small={"learning_rate": 0.05}, published=74.5),
            Cell("no RandAugment", {"auto_augment": "none"}, published=79.6),
            Cell("AutoAugment", {"auto_augment": "original-mstd0.5"}, published=81.2),
            Cell("no Mixup", {"mixup_alpha": 0.0}, published=78.7),
            Cell("no CutMix", {"cutmix_alpha": 0.0}, published=80.0),
            Cell("no Mixup, no CutMix", {"mixup_alpha": 0.0, "cutmix_alpha": 0.0}, published=75.8),
            Cell("no erasing", {"erase_probability": 0.0}, published=4.3),
            Cell("no stochastic depth", {"drop_path_rate": 0.0}, published=3.4),
            Cell("no repeated augmentation", {"repeated_augmentation": 1}, published=76.5),
            Cell("dropout", {"dropout_rate": 0.1}, published=81.3),
            Cell("EMA", runs_of="default", averaged=True, published=81.9),
        ),
        claims=(
            Claim("default", "SGD", "AdamW is better than SGD."),
            Claim("default", "no RandAugment", "RandAugment helps."),
            Claim("default", "no Mixup, no CutMix", "Mixed images help."),
            Claim("default", "no erasing", "Random erasing helps."),
            Claim("default", "no stochastic depth", "Stochastic depth helps."),
            Claim("default", "no repeated augmentation", "Repeated augmentation helps."),
            Claim("default", "dropout", "Dropout hurts."),
            Claim("EMA", "default", "The average of the weights is better than the last ones."),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small={
            **SMALL,
            **_AUGMENTED,
            "erase_probability": 0.25,
            "drop_path_rate": 0.1,
            "repeated_augmentation": 3,
            "ema_decay": 0.99,
        },
        paper={**IMAGENET, "recipe": "deit", "model": "deit_base_patch16_224"},
        remarks="Published, the trainings without erasing and without stochastic depth diverged.",
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
        small={**SMALL, **_NONE, "steps": 800, "stem": "linear"},
        paper={**IMAGENET, "recipe": "augreg_none"},
        remarks="Widths 32 and 64 stand for ViT-S and ViT-B.",
    )
)

_WIDER = {
    "small": {"embed_dim": 96, "num_heads": 3},
    "paper": {"model": "deit_base_patch16_224"},
}
_LAYER_SCALE = {"residual": "layer_scale", "layer_scale_init": 1e-4}
# 300 and 400 epochs, in steps at the scale "small".
_SHORT, _LONG = ({"small": {"steps": 2 * n}, "paper": {"epochs": n}} for n in (300, 400))
_PARTS = (
    ("cross-entropy", {"loss": "cross_entropy"}, _SHORT),
    ("binary cross-entropy", {}, _SHORT),
    ("LayerScale", _LAYER_SCALE, _SHORT),
    ("LayerScale, 400 epochs", _LAYER_SCALE, _LONG),
    ("3-Augment, 400 epochs", {**_LAYER_SCALE, "auto_augment": "3a"}, _LONG),
)


def _recipe_cells(size: str, published: tuple[float, ...], sizes: dict) -> list[Cell]:
    return [
        Cell(
            f"{size}, {name}",
            options,
            **{scale: {**length[scale], **sizes.get(scale, {})} for scale in SCALES},
            published=top1,
        )
        for (name, options, length), top1 in zip(_PARTS, published, strict=True)
    ]


register_study(
    StudyDefinition(
        name="recipes",
        title="parts of DeiT III's recipe, one after the other",
        source=f"{THESIS}, table 6.4, ViT-S and ViT-B",
        cells=(
            *_recipe_cells("S", (79.8, 79.8, 80.1, 80.7, 80.4), {}),
            *_recipe_cells("B", (80.9, 82.2, 82.5, 82.7, 83.1), _WIDER),
        ),
        claims=tuple(
            Claim(f"{size}, {better}", f"{size}, {worse}", f"{text} ({size})")
            for size in "SB"
            for better, worse, text in (
                ("binary cross-entropy", "cross-entropy", "Binary cross-entropy is better"),
                ("LayerScale", "binary cross-entropy", "LayerScale helps"),
                ("LayerScale, 400 epochs", "LayerScale", "A longer training helps"),
                (
                    "3-Augment, 400 epochs",
                    "LayerScale, 400 epochs",
                    "3-Augment is better than RandAugment",
                ),
            )
        ),
        datasets=("crops40",),
        reason=CROPS,
        small={**SMALL, **_AUGMENTED, "loss": "binary_cross_entropy", "label_smoothing": 0.0},
        paper={
            **IMAGENET,
            **{"recipe": "deit3_1k_400", "model": "deit_small_patch16_224"},
            **{"auto_augment": _AUGMENTED["auto_augment"], "loss": "binary_cross_entropy"},
        },
        remarks="Widths 64 and 96 stand for ViT-S and ViT-B, twice as many steps for the epochs.",
    )
)

# What the recipe auto has for training from scratch: for fine-tuning it has other values.
_AS_BEFORE = {
    **{f.name: getattr(SMALL_DATA_AUGMENTATION, f.name) for f in fields(SMALL_DATA_AUGMENTATION)},
    **{"evaluation_interpolation": "bilinear", "batch_size": 32, "layer_decay": 1.0},
    "drop_path_rate": 0.0,
    **{"warmup_steps": 0, "warmup_learning_rate": 0.0},
}
# A step that changes nothing, not even the statistics of batch normalization: the model is only
# evaluated at another size.
_UNCHANGED = {
    "steps": 1,
    "learning_rate": 1e-12,
    "min_learning_rate": 0.0,
    "weight_decay": 0.0,
    "training_mode": False,
}
_SMALL_UNCHANGED = {**_AS_BEFORE, **_UNCHANGED}
_PAPER_UNCHANGED = {**_UNCHANGED, "warmup_epochs": 0}
_AT_384 = {"model": "deit_base_patch16_384", "evaluation_crop_ratio": 1.0}

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
            Cell(
                "fine-tuned at 384",
                small={
                    **_AS_BEFORE,
                    **{"image_size": 32, "weights": "run:trained at 224"},
                    **{"steps": 480, "learning_rate": 3e-4},
                },
                paper={"recipe": "deit_finetune_384", **_AT_384, "weights": "run:trained at 224"},
                published=83.1,
            ),
            Cell(
                "fine-tuned at 384, crop ratio 0.875",
                small={
                    **{"image_size": 32, "weights": "run:fine-tuned at 384"},
                    **{**_SMALL_UNCHANGED, "evaluation_crop_ratio": 0.875},
                },
                paper={
                    **{**_AT_384, "weights": "run:fine-tuned at 384"},
                    **{**_PAPER_UNCHANGED, "evaluation_crop_ratio": 0.875},
                },
                published=82.9,
            ),
            Cell(
                "trained further at 224",
                small={
                    **_AS_BEFORE,
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
        remarks="24 and 32 pixels stand for 224 and 384.",
    )
)
