"""The studies of this package, each of which mirrors a published table.

At the scale "small" a model has width 96, four blocks and a convolutional stem, without which it
learns little in so few steps, and the values of the recipe auto. A study takes half an hour on two
cores.
"""

from keras_deit.recipes.augreg import LEVELS
from keras_deit.studies.definition import Cell, Claim, Figure, StudyDefinition, register_study

_THESIS = "H. Touvron's thesis"
_TEACHER = "kerascv:csp_darknet_tiny"
_LETTERS = (
    "26 letters in the fonts of matplotlib, turned and with noise, test fonts unseen: models of "
    "this size are between a half and nine tenths right, so there is room on both sides"
)
_CROPS = (
    "pieces of photographs, a third of them gray, brightness and tint drawn, test pieces from "
    "another region: color and texture do not give them away"
)
# Of the model and its training; `study_sizes` adds sides and patches.
_SMALL = {
    "recipe": "auto",
    "model": "deit_tiny_patch16_224",
    "embed_dim": 96,
    "depth": 4,
    "num_heads": 3,
    "stem": "conv",
    "steps": 600,
    "distillation": "none",
}
_HARD = {"distillation": "hard", "alpha": 0.5}
_SOFT = {"distillation": "soft", "alpha": 0.9, "temperature": 3.0}
_IMAGENET = {"dataset": "imagenet2012"}


def _distilled(values: dict, **more) -> dict:
    """Returns options of a distillation by the convolutional teacher of a scale."""
    return {"options": {**values, **more}, "small": {"teacher": _TEACHER}, "paper": {}}


_TOKEN = _distilled(_HARD, distilled=True)

register_study(
    StudyDefinition(
        name="distillation",
        title="ways to distill a convolutional teacher",
        source=f"{_THESIS}, table 3.3, DeiT-B at 224",
        cells=(
            Cell("none", {"distillation": "none"}, published=81.8),
            Cell("soft, class token", **_distilled(_SOFT), published=81.8),
            Cell("hard, class token", **_distilled(_HARD), published=83.0),
            Cell("token, class head", runs_of="token, both", row="class", published=83.0),
            Cell(
                "token, distillation head",
                runs_of="token, both",
                row="distillation",
                published=83.1,
            ),
            Cell("token, both", **_TOKEN, published=83.4),
            Cell("token, soft", **_distilled(_SOFT, distilled=True)),
        ),
        claims=(
            Claim("token, both", "none", "Distillation through a token helps."),
            Claim("hard, class token", "soft, class token", "Hard labels are better than soft."),
            Claim("token, both", "hard, class token", "A token of its own is better than none."),
            Claim(
                "token, distillation head",
                "token, class head",
                "The distillation head is better than the class head.",
            ),
            Claim("token, both", "token, distillation head", "Both heads are better than one."),
        ),
        datasets=("letters10", "letters30"),
        reason=_LETTERS,
        small=_SMALL,
        paper={**_IMAGENET, "recipe": "deit_distilled", "model": "deit_base_patch16_224"},
        seeds="0:5",
    )
)

register_study(
    StudyDefinition(
        name="teachers",
        title="teachers of rising accuracy, and a transformer",
        source=f"{_THESIS}, table 3.2, DeiT-B at 224",
        cells=(
            Cell("no teacher", {"distillation": "none"}, published=81.8),
            Cell(
                "transformer",
                {**_HARD, "distilled": True},
                small={"teacher": "run:no teacher"},
                paper={"teacher": "deit_base_patch16_224"},
                published=81.9,
            ),
            Cell(
                "convolutional, weak",
                {**_HARD, "distilled": True},
                small={"teacher": _TEACHER, "teacher_steps": 100, "accept_teacher": True},
                paper={"teacher": "regnety_040"},
                published=82.7,
            ),
            Cell(
                "convolutional, middling",
                {**_HARD, "distilled": True},
                small={"teacher": _TEACHER, "teacher_steps": 250, "accept_teacher": True},
                paper={"teacher": "regnety_080"},
                published=82.7,
            ),
            Cell("convolutional, strong", **_TOKEN, published=83.1),
        ),
        claims=(
            Claim(
                "convolutional, strong",
                "transformer",
                "A convolutional teacher is better than a transformer.",
            ),
            Claim(
                "convolutional, strong",
                "convolutional, weak",
                "The more accurate teacher is the better one.",
            ),
            Claim("convolutional, strong", "no teacher", "A convolutional teacher helps."),
        ),
        datasets=("letters30",),
        reason=_LETTERS,
        small=_SMALL,
        paper={**_IMAGENET, "recipe": "deit_distilled", "model": "deit_base_patch16_224"},
    )
)

_PAIRS = {
    ("ground truth", "class"): 0.170,
    ("ground truth", "distillation"): 0.169,
    ("ground truth", "both"): 0.166,
    ("teacher", "class"): 0.112,
    ("teacher", "distillation"): 0.100,
    ("teacher", "both"): 0.102,
    ("class", "distillation"): 0.050,
    ("class", "both"): 0.033,
    ("distillation", "both"): 0.019,
}
_FIRST, _LAST = "cosine after the first block", "cosine after the last block"

register_study(
    StudyDefinition(
        name="tokens",
        title="what class and distillation token and their heads have in common",
        source=f"{_THESIS}, §3.4 and table 3.4, DeiT-B at 224",
        cells=(
            Cell("distillation token", **_TOKEN),
            Cell("two class tokens", {"distillation": "none", "distilled": True}),
        ),
        figures=(
            *(
                Figure(f"disagreement {' and '.join(pair)}", ("disagreement", *pair), published)
                for pair, published in _PAIRS.items()
            ),
            Figure(_FIRST, ("token_cosine", 0), 0.06),
            Figure(_LAST, ("token_cosine", -1), 0.93),
        ),
        claims=(
            Claim(
                "distillation token",
                "distillation token",
                "The distillation head agrees with the teacher more than the class head does.",
                ("disagreement teacher and class", "disagreement teacher and distillation"),
            ),
            Claim(
                "distillation token",
                "distillation token",
                "The two tokens become more alike from block to block.",
                (_LAST, _FIRST),
            ),
            Claim(
                "two class tokens",
                "distillation token",
                "Two class tokens are more alike than class and distillation token.",
                (_LAST, _LAST),
            ),
        ),
        datasets=("letters30",),
        reason=_LETTERS,
        small=_SMALL,
        paper={**_IMAGENET, "recipe": "deit_distilled", "model": "deit_base_patch16_224"},
        remarks="The published cosine of 0.06 is that of the tokens before the first block.",
    )
)

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
            Cell("DeiT", **_distilled(_HARD, distilled=True, **_NONE)),
            Cell("DeiT, augmentation", **_TOKEN),
        ),
        claims=(
            Claim("DeiT", "ViT", "Distillation helps without augmentation."),
            Claim("DeiT, augmentation", "DeiT", "Augmentation helps the distilled model."),
        ),
        datasets=("crops40",),
        reason=_CROPS,
        small=_SMALL,
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
        source=f"{_THESIS}, table 3.8, DeiT-B at 224",
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
        reason=_LETTERS,
        small={
            **_SMALL,
            **_AUGMENTED,
            "steps": 400,
            "erase_probability": 0.25,
            "drop_path_rate": 0.1,
            "repeated_augmentation": 3,
        },
        paper={**_IMAGENET, "recipe": "deit", "model": "deit_base_patch16_224"},
    )
)

_BALANCED = {"LayerScale": {"layer_scale_init": 1e-4}, "ReZero": {"residual": "rezero"}}

register_study(
    StudyDefinition(
        name="depth",
        title="depth, with and without weighted residual branches",
        source=f"{_THESIS}, table 3.12, DeiT-S, 300 epochs",
        cells=tuple(
            Cell(f"{depth} blocks, {name}", {"depth": depth, **values})
            for depth in (6, 12, 24)
            for name, values in {"plain": {}, **_BALANCED}.items()
        ),
        claims=(
            Claim("24 blocks, LayerScale", "24 blocks, plain", "LayerScale helps deep models."),
            Claim("24 blocks, LayerScale", "24 blocks, ReZero", "It is better than ReZero."),
            Claim("24 blocks, LayerScale", "6 blocks, LayerScale", "With it, depth helps."),
        ),
        datasets=("letters30",),
        reason=_LETTERS,
        small={**_SMALL, "embed_dim": 48, "steps": 250},
        paper={**_IMAGENET, "recipe": "layerscale_baseline", "model": "deit_small_patch16_224"},
        seeds="0:5",
        remarks="Depths of 6, 12 and 24 blocks of width 48 stand for 12 to 36 of width 384.",
    )
)

_SL = {"plain": {}, "SPT": {"spt": True}, "LSA": {"lsa": True}, "both": {"spt": True, "lsa": True}}

register_study(
    StudyDefinition(
        name="small_data",
        title="shifted patch tokenization and locality self-attention",
        source="Lee et al., 2021, tables 2 and 3, ViT",
        cells=tuple(Cell(f"ViT, {name}", dict(values)) for name, values in _SL.items()),
        claims=(
            Claim("ViT, SPT", "ViT, plain", "SPT helps."),
            Claim("ViT, LSA", "ViT, plain", "LSA helps."),
            Claim("ViT, both", "ViT, SPT", "LSA helps beside SPT."),
        ),
        datasets=("letters30", "crops40"),
        reason=f"{_LETTERS}; {_CROPS}",
        small={**_SMALL, "stem": "linear"},
        paper={"dataset": "cifar100", "recipe": "spt_lsa_cifar100", "model": "sl_vit_patch4_32"},
        seeds="0:5",
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


register_study(
    StudyDefinition(
        name="augreg",
        title="levels of augmentation, with and without regularization",
        source="How to train your ViT?, figure 4",
        cells=tuple(
            Cell(
                f"{level}, {'regularized' if regularized else 'plain'}", _level(level, regularized)
            )
            for level in LEVELS
            for regularized in (False, True)
        ),
        claims=(
            Claim("medium1, plain", "none, plain", "Augmentation helps small data."),
            Claim("none, plain", "none, regularized", "Regularization hurts small models."),
            Claim("medium1, plain", "none, regularized", "Augmentation is the better of the two."),
        ),
        datasets=("crops40",),
        reason=_CROPS,
        small={**_SMALL, "steps": 400, "cutmix_alpha": 0.0, "stem": "linear"},
        paper={**_IMAGENET, "recipe": "augreg_none", "model": "vit_small_patch16_224"},
    )
)

_DEIT3 = {"loss": "binary_cross_entropy", "auto_augment": "3a", "layer_scale_init": 1e-4}

register_study(
    StudyDefinition(
        name="recipes",
        title="parts of DeiT III's recipe",
        source=f"{_THESIS}, table 6.4, ViT-S",
        cells=(
            Cell("cross-entropy", {"loss": "cross_entropy"}, published=79.8),
            Cell("binary cross-entropy", {"loss": "binary_cross_entropy"}, published=79.8),
            Cell(
                "and LayerScale",
                {"loss": "binary_cross_entropy", "layer_scale_init": 1e-4},
                published=80.1,
            ),
            Cell("and 3-Augment", _DEIT3, published=80.4),
        ),
        claims=(
            Claim("and LayerScale", "binary cross-entropy", "LayerScale helps."),
            Claim("and 3-Augment", "cross-entropy", "All together are better than DeiT's recipe."),
        ),
        datasets=("crops40",),
        reason=_CROPS,
        small={**_SMALL, **_AUGMENTED, "label_smoothing": 0.0},
        paper={**_IMAGENET, "recipe": "deit3_1k", "model": "deit3_small_patch16_224"},
    )
)

_RATES = {"learning_rate": 3e-4, "warmup_steps": 0, "warmup_learning_rate": 0.0}
# A step that changes nothing: the model is only evaluated at another size.
_UNCHANGED = {"steps": 1, "learning_rate": 1e-12, "min_learning_rate": 0.0, "weight_decay": 0.0}

register_study(
    StudyDefinition(
        name="resolution",
        title="size of the images in training, fine-tuning and test, and the crop ratio",
        source=f"{_THESIS}, tables 3.10 and 3.22, DeiT-B",
        cells=(
            Cell("trained at 224", small={"image_size": 24}, published=81.8),
            Cell(
                "trained at 224, tested at 384",
                small={"image_size": 32, "weights": "run:trained at 224", **_UNCHANGED},
                paper={"image_size": 384, "weights": "run:trained at 224", **_UNCHANGED},
            ),
            Cell(
                "fine-tuned at 384",
                small={"image_size": 32, "weights": "run:trained at 224", "steps": 200, **_RATES},
                paper={"recipe": "deit_finetune_384", "weights": "run:trained at 224"},
                published=83.1,
            ),
            Cell(
                "fine-tuned at 384, crop ratio 0.875",
                {"evaluation_crop_ratio": 0.875},
                small={"image_size": 32, "weights": "run:fine-tuned at 384", **_UNCHANGED},
                paper={"image_size": 384, "weights": "run:fine-tuned at 384", **_UNCHANGED},
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
        reason=_LETTERS,
        small={**_SMALL, "patch_size": 4, "evaluation_crop_ratio": 1.0},
        paper={**_IMAGENET, "recipe": "deit", "model": "deit_base_patch16_224"},
        remarks="24 and 32 pixels stand for 224 and 384.",
    )
)
