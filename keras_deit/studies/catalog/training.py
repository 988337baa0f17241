"""Studies of augmentation and of other parts of a recipe."""

from keras_deit.recipes.augreg import LEVELS
from keras_deit.studies.catalog.common import (
    AUGMENTED,
    CROPS,
    IMAGENET,
    LETTERS,
    SMALL,
    SOFT,
    THESIS,
)
from keras_deit.studies.definition import (
    Cell,
    Claim,
    Figure,
    StudyDefinition,
    register_study,
)

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
_FROM_THE_RESNET = {
    **{**SOFT, "alpha": 0.5, "distilled": True, "teacher": "run:ResNet-50, the teacher"},
    "accept_teacher": True,
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
            Cell(
                "ResNet-50, the teacher",
                {"model": "resnet50_224", "distillation": "none"},
                small={
                    **{"stem_width": 16, "patch_size": None, "stem": None, "embed_dim": None},
                    **{"depth": None, "num_heads": None},
                },
                paper={
                    **{"recipe": "deit", "evaluation_crop_ratio": 1.0, "patch_size": None},
                    **dict.fromkeys(("embed_dim", "depth", "num_heads", "dropout_rate")),
                },
            ),
            _six_figures_cell(
                "ViT", (63.9, 96.7, 0.642, 0.938, 0.655, 0.639), options={"distillation": "none"}
            ),
            _six_figures_cell(
                "DeiT",
                (67.6, 96.7, 0.675, 0.949, 0.679, 0.676),
                options=_FROM_THE_RESNET,
            ),
            _six_figures_cell(
                "DeiT, augmentation",
                (70.7, 97.6, 0.706, 0.957, 0.707, 0.707),
                options={**_FROM_THE_RESNET, **_IMAGE_AUGMENTATION},
            ),
        ),
        claims=(
            Claim("DeiT", "ViT", "Distillation helps without augmentation."),
            Claim("DeiT, augmentation", "DeiT", "Augmentation helps the distilled model."),
        ),
        datasets=("crops40",),
        reason=CROPS,
        small={**SMALL, **_NONE},
        paper={
            **{"dataset": "cifar10", "recipe": "cifar10_scratch", "epochs": 20, **_NONE},
            **{"model": "deit_tiny_patch16_224", "image_size": 32, "patch_size": 4},
            **{"embed_dim": 64, "depth": 7, "num_heads": 8, "dropout_rate": 0.1},
            **{"optimizer": "adam", "learning_rate": 1e-3, "learning_rate_scaling": False},
            **{"batch_size": 64, "weight_decay": 0.0},
        },
        figures=tuple(
            Figure(name, ("figures", "fused", path)) for name, path in _SIX_FIGURES.items()
        ),
        remarks=(
            "As published DeiT has a top-1 of 63.9 and a recall of 67.6, which are the same on "
            "classes of equal size; the table has 67.6. The published teacher is a ResNet-50 whose "
            "training is not stated; here it is trained like the ViT. Neither are the weight of "
            "its distribution, here 0.5, and the schedule of the learning rate, here a cosine."
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
        # Of 30 images a class the weights are still learning the training images at the end.
        datasets=("letters10",),
        reason=LETTERS,
        small={
            **SMALL,
            **AUGMENTED,
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
