"""The published configurations of DeiT and distilled DeiT."""

from keras_deit.models.deit import DeiT
from keras_deit.models.model_spec import ModelSpec, Result

_SOURCE = "github.com/facebookresearch/deit, README_deit.md"
_TINY = {"embed_dim": 192, "num_heads": 3}
_SMALL = {"embed_dim": 384, "num_heads": 6}
_BASE = {"embed_dim": 768, "num_heads": 12}

_ROWS = (
    # name, image size, width, parameters, GMACs, published GMACs,
    #     SHA-256 prefix of the authors' file, top-1, top-5
    ("deit_tiny_patch16_224", 224, _TINY, 5_717_416, 1.254, 1.3,
        "a1311bcf", 72.202, 91.124),
    ("deit_small_patch16_224", 224, _SMALL, 22_050_664, 4.599, 4.6,
        "cd65a155", 79.854, 94.968),
    ("deit_base_patch16_224", 224, _BASE, 86_567_656, 17.56, 17.5,
        "b5f2ef4d", 81.846, 95.594),
    ("deit_base_patch16_384", 384, _BASE, 86_859_496, 55.48, 55.4,
        "8de9b5d1", 82.890, 96.222),
    ("deit_tiny_distilled_patch16_224", 224, _TINY, 5_910_800, 1.261, None,
        "b40b3cf7", 74.476, 91.920),
    ("deit_small_distilled_patch16_224", 224, _SMALL, 22_436_432, 4.624, None,
        "649709d9", 81.164, 95.376),
    ("deit_base_distilled_patch16_224", 224, _BASE, 87_338_192, 17.66, None,
        "df68dfff", 83.372, 96.482),
    ("deit_base_distilled_patch16_384", 384, _BASE, 87_630_032, 55.59, 55.5,
        "d0272ac0", 85.224, 97.186),
)  # fmt: skip


def _spec(name, image_size, width, parameters, gmacs, published_gmacs, digest, top1, top5):
    distilled = "_distilled_" in name
    files = (
        f"{name}-{digest}.pth",
        f"hf://timm/{name}.fb_in1k",
        f"hf://facebook/{name.replace('_', '-')}",
    )
    training = "1k distilled" if distilled else "1k"
    return ModelSpec(
        name=name,
        architecture=DeiT,
        config={
            "image_size": image_size,
            "patch_size": 16,
            "depth": 12,
            **width,
            "distilled": distilled,
        },
        parameters=parameters,
        gmacs=gmacs,
        published_gmacs=published_gmacs,
        results=(Result(training, top1, top5, _SOURCE, files),),
        crop_ratio=0.875,
        source=_SOURCE,
        # Fine-tuning at 384 left the model in evaluation mode.
        published_drop_path=0.1 if image_size == 224 else 0.0,
    )


DEIT_MODELS = tuple(_spec(*row) for row in _ROWS)
