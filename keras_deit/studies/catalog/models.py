"""Studies of models: their depth, what they gain on little data, binary and pruned ones."""

from keras_deit.recipes.layer_scale import METHODS
from keras_deit.studies.catalog.common import AS_BEFORE, IMAGENET, LETTERS, SMALL, THESIS
from keras_deit.studies.definition import Cell, Claim, StudyDefinition, register_study

_DEPTHS = (12, 18, 24, 36)
_WEIGHTINGS = {"plain": "_baseline", "ReZero": "_rezero", "LayerScale": ""}
# Top-1 by the number of blocks without a class token, of 12.
_CLASS_TOKEN_AT = {4: 80.0, 8: 80.0, 10: 80.5}


def _depth_cell(depth: int, weighting: str) -> Cell:
    recipe = f"layerscale{_WEIGHTINGS[weighting]}"
    residual, top1 = METHODS[_WEIGHTINGS[weighting]]
    infix = "" if depth == 12 else f"_d{depth}"
    return Cell(
        f"{depth} blocks, {weighting}",
        small={"depth": depth, "residual": residual},
        paper={"recipe": recipe, "model": f"deit_small{infix}_patch16_224"},
        published=top1[_DEPTHS.index(depth)],
    )


register_study(
    StudyDefinition(
        name="depth",
        title="depth, weighted residual branches, and a class token that enters late",
        source=f"{THESIS}, tables 3.11 to 3.13, DeiT-S",
        cells=(
            *(
                _depth_cell(depth, weighting)
                for depth in _DEPTHS
                for weighting in ("plain", "ReZero", "LayerScale")
            ),
            *(
                Cell(
                    f"12 blocks, class token at {blocks}",
                    {"class_token_at": blocks},
                    small={"depth": 12},
                    paper={"recipe": "layerscale_baseline", "model": "deit_small_patch16_224"},
                    published=top1,
                )
                for blocks, top1 in _CLASS_TOKEN_AT.items()
            ),
        ),
        claims=(
            Claim("36 blocks, LayerScale", "36 blocks, plain", "LayerScale helps deep models."),
            Claim(
                "36 blocks, LayerScale", "36 blocks, ReZero", "LayerScale is better than ReZero."
            ),
            Claim("36 blocks, LayerScale", "12 blocks, LayerScale", "With LayerScale depth helps."),
            Claim(
                "12 blocks, class token at 10",
                "12 blocks, plain",
                "A class token that enters late is better.",
            ),
        ),
        datasets=("letters10",),
        reason=LETTERS,
        # Four times fewer patches, so that 36 blocks take no longer than four of the others.
        small={**SMALL, "embed_dim": 32, "image_size": 16, "patch_size": 4, "steps": 832},
        paper=IMAGENET,
        seeds="0:5",
        remarks="Width 32 stands for 384, and images of 28 pixels are reduced to 16.",
    )
)

_VARIANTS = {
    "plain": {},
    "SPT": {"spt": True},
    "LSA": {"lsa": True},
    "both": {"spt": True, "lsa": True},
}
# Sizes and stem of DeiT, which not all models have.
_OF_DEIT = ("stem", "patch_size", "depth", "num_heads")
# Of the models for small data: the published one, its small one, and top-1 on CIFAR-100.
_SMALL_STAGES = {"embed_dim": 32, "depth": (1, 2, 1), "num_heads": (1, 2, 4)}
_SMALL_MODELS = {
    "ViT": (
        "vit_small_data_patch4_32",
        {"depth": 4, "num_heads": 4, "patch_size": 4},
        (73.81, 76.92),
    ),
    "T2T": (
        "t2t_small_data_32",
        {"depth": 4, "num_heads": 2, "token_dim": 16, "patch_size": None},
        (77.00, 77.36),
    ),
    "CaiT": (
        "cait_small_data_patch4_32",
        {"depth": 3, "class_depth": 1, "num_heads": 2, "head_dim": 32, "patch_size": 4},
        (76.89, 80.32),
    ),
    "PiT": (
        "pit_small_data_patch2_32",
        {**_SMALL_STAGES, "head_dim": 24, "patch_size": 4},
        (74.99, 79.00),
    ),
    "Swin": (
        "swin_small_data_patch2_32",
        {**_SMALL_STAGES, "window_size": 4, "patch_size": 2},
        (76.87, 79.99),
    ),
}


def _small_data_cell(model: str, variant: str) -> Cell:
    name, values, (plain, both) = _SMALL_MODELS[model]
    return Cell(
        f"{model}, {variant}",
        _VARIANTS[variant],
        small={"model": name, **values},
        paper={"model": name},
        published={"plain": plain, "both": both}.get(variant),
    )


register_study(
    StudyDefinition(
        name="small_data",
        title="shifted patch tokenization (SPT) and locality self-attention (LSA)",
        source="Vision Transformer for Small-Size Datasets (Lee et al., 2021), CIFAR-100",
        cells=(
            *(_small_data_cell(model, variant) for model in _SMALL_MODELS for variant in _VARIANTS),
        ),
        claims=(
            *(
                Claim(f"{model}, {variant}", f"{model}, plain", f"{text} {model}.")
                for model in _SMALL_MODELS
                for variant, text in (
                    ("SPT", "SPT helps"),
                    ("LSA", "LSA helps"),
                    ("both", "Both help"),
                )
            ),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small={
            **{name: value for name, value in SMALL.items() if name not in _OF_DEIT},
            "image_size": 32,
            "steps": 640,
        },
        paper={"dataset": "cifar100", "recipe": "spt_lsa_cifar100"},
        seeds="0:5",
        remarks=(
            "At the scale small the models have four blocks, and letters are enlarged to 32 pixels."
            " Published is the best accuracy on the test split over the epochs; here it is that of "
            "the final weights."
        ),
    )
)

_BINARY = {"distillation": "soft", "alpha": 1.0, "temperature": 1.0}
_FLAT = {"depth": 4, "num_heads": 2, "embed_dim": 64, "patch_size": 4}
_PYRAMID = {
    **{"patch_size": 2, "embed_dim": (16, 32, 64), "depth": (1, 2, 1), "num_heads": (1, 1, 2)},
    **{"mlp_ratio": (8, 8, 4), "reduction": (4, 2, 1)},
}


def _binary_cell(name: str, model: str, published: float) -> Cell:
    return Cell(
        name,
        small={
            **_BINARY,
            **(_FLAT if "deit" in model else _PYRAMID),
            "model": model,
            "teacher": "run:full precision",
        },
        paper={"recipe": "binaryvit", "model": model},
        published=published,
    )


register_study(
    StudyDefinition(
        name="binary",
        title="binary weights and activations, from DeiT-S to BinaryViT",
        source="BinaryViT (Le and Li, 2023), tables 2 and 3",
        cells=(
            Cell(
                "full precision",
                {"distillation": "none"},
                small={"stem": "linear", **_FLAT},
                paper={"recipe": "deit", "model": "deit_small_patch16_224"},
                published=79.9,
            ),
            _binary_cell("binary DeiT", "binary_deit_small_patch16_224", 48.5),
            _binary_cell("+ average pooling", "binary_deit_small_patch16_gap_224", 56.4),
            _binary_cell("+ pooling branches", "binary_deit_small_patch16_gap_branches_224", 60.2),
            _binary_cell("+ affine", "binary_deit_small_patch16_gap_branches_affine_224", 61.8),
            _binary_cell("BinaryViT", "binary_vit_small_patch4_224", 67.7),
            _binary_cell("BinaryViT*", "binary_vit_small_patch4_star_224", 70.6),
        ),
        claims=(
            Claim("full precision", "BinaryViT*", "A binary model pays for its bits."),
            Claim("+ average pooling", "binary DeiT", "Average pooling of the tokens helps."),
            Claim("+ pooling branches", "+ average pooling", "Pooling branches help."),
            Claim("BinaryViT", "+ affine", "A pyramid helps."),
            Claim("BinaryViT*", "BinaryViT", "Merging in full precision helps."),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small={
            **{name: SMALL[name] for name in ("recipe", "model", "validation_epochs")},
            **{"image_size": 32, "steps": 1800, "warmup_steps": 60},
        },
        paper=IMAGENET,
    )
)

# Published are λ = 1e-4 and 100 epochs; so short a training moves the gates with a larger one only.
_PRUNING = {"runs_of": "unpruned", "small": {"l1": 1e-3}}

register_study(
    StudyDefinition(
        name="pruning",
        title="channels that a trained model can do without",
        source="Vision Transformer Pruning (Zhu et al., 2021), DeiT-B",
        cells=(
            Cell("unpruned", published=81.8),
            Cell("rate 0.2", pruning_rate=0.2, published=81.3, **_PRUNING),
            Cell("rate 0.4", pruning_rate=0.4, published=80.7, **_PRUNING),
            Cell("rate 0.6", pruning_rate=0.6, **_PRUNING),
            # As many steps as both phases of a pruning, with their learning rates.
            Cell(
                "unpruned, trained further",
                {"weights": "run:unpruned"},
                small={
                    **{**AS_BEFORE, "warmup_steps": 60, "steps": 720},
                    **{"learning_rate": 1e-4, "min_learning_rate": 1e-7},
                },
                paper={"epochs": 200, "learning_rate": 5e-5, "min_learning_rate": 1e-6},
            ),
        ),
        claims=(
            *(
                Claim(
                    "unpruned, trained further",
                    f"rate {share / 100:g}",
                    f"Removing {share} % of the channels costs accuracy.",
                )
                for share in (20, 40)
            ),
            Claim("rate 0.2", "rate 0.6", "Removing more of them costs more."),
        ),
        datasets=("letters30",),
        reason=LETTERS,
        small=SMALL,
        paper={**IMAGENET, "recipe": "deit", "model": "deit_base_patch16_224"},
        seeds="0:5",
        remarks=(
            "Gates and pruned model are trained for a third of the steps each; a row of its own "
            "has as many further steps without pruning, which the published unpruned model has not."
        ),
    )
)
