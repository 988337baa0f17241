"""The published configurations of AugReg's ViTs and hybrids."""

from keras_deit.models.registry import register_model
from keras_deit.models.spec import Result
from keras_deit.models.vit.model import ViT

_SOURCE = "github.com/google-research/vision_transformer, vit_jax/configs/models.py"
# Of the files that timm converted.
_RESULTS = "github.com/huggingface/pytorch-image-models, results/results-imagenet.csv"
_TAGS = {"21k → 1k": "augreg_in21k_ft_in1k", "1k": "augreg_in1k"}
_HALF = (0.5, 0.5, 0.5)
_TINY = {"embed_dim": 192, "depth": 12, "num_heads": 3}
_SMALL = {"embed_dim": 384, "depth": 12, "num_heads": 6}
_BASE = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
_R26 = {"stem_depths": (2, 2, 2, 2), "patch_size": 1}
_R50 = {"stem_depths": (3, 4, 6, 3), "patch_size": 1}


def _register(size, image_size, parameters, gmacs, values, **top):
    """`top` has top-1 and top-5 by the training: `transferred` from ImageNet-21k, or `scratch`."""
    name = f"vit_{size}_{image_size}"
    trainings = {"21k → 1k": top.get("transferred"), "1k": top.get("scratch")}
    register_model(
        name,
        ViT,
        image_size=image_size,
        **values,
        parameters=parameters,
        gmacs=gmacs,
        results=tuple(
            Result(training, *reached, _RESULTS, (f"hf://timm/{name}.{_TAGS[training]}",))
            for training, reached in trainings.items()
            if reached is not None
        ),
        # timm's, which the results are of.
        crop_ratio=0.9 if image_size == 224 else 1.0,
        mean=_HALF,
        std=_HALF,
        source=_SOURCE,
    )


# fmt: off
_register(
    "tiny_patch16", 224, 5_717_416, 1.254, values={**_TINY, "patch_size": 16},
    transferred=(75.454, 92.844),
)
_register(
    "tiny_patch16", 384, 5_790_376, 4.682, values={**_TINY, "patch_size": 16},
    transferred=(78.424, 94.540),
)
_register(
    "small_patch32", 224, 22_878_952, 1.143, values={**_SMALL, "patch_size": 32},
    transferred=(75.994, 93.270),
)
_register(
    "small_patch32", 384, 22_915_432, 3.443, values={**_SMALL, "patch_size": 32},
    transferred=(80.486, 95.596),
)
_register(
    "small_patch16", 224, 22_050_664, 4.599, values={**_SMALL, "patch_size": 16},
    transferred=(81.384, 96.136), scratch=(78.846, 94.288),
)
_register(
    "small_patch16", 384, 22_196_584, 15.49, values={**_SMALL, "patch_size": 16},
    transferred=(83.802, 97.098), scratch=(81.116, 95.574),
)
_register(
    "base_patch32", 224, 88_224_232, 4.409, values={**_BASE, "patch_size": 32},
    transferred=(80.716, 95.566), scratch=(74.894, 91.778),
)
_register(
    "base_patch32", 384, 88_297_192, 13.04, values={**_BASE, "patch_size": 32},
    transferred=(83.350, 96.838), scratch=(78.752, 94.224),
)
_register(
    "base_patch16", 224, 86_567_656, 17.56, values={**_BASE, "patch_size": 16},
    transferred=(84.532, 97.292), scratch=(79.154, 94.090),
)
_register(
    "base_patch16", 384, 86_859_496, 55.48, values={**_BASE, "patch_size": 16},
    transferred=(85.996, 98.002), scratch=(81.102, 95.330),
)
_register(
    "base_patch8", 224, 86_576_872, 78.15, values={**_BASE, "patch_size": 8},
    transferred=(85.798, 97.790),
)
_register(
    "large_patch16", 224, 304_326_632, 61.55, values={**_LARGE, "patch_size": 16},
    transferred=(85.834, 97.818),
)
_register(
    "large_patch16", 384, 304_715_752, 191.1, values={**_LARGE, "patch_size": 16},
    transferred=(87.084, 98.302),
)
# "/16" in the authors' name, R+Ti/16, is not the stride, which is 32.
_register(
    "tiny_r_s16_p8", 224, 6_337_704, 0.4337, values={**_TINY, "stem_depths": (), "patch_size": 8},
    transferred=(71.798, 90.824),
)
_register(
    "tiny_r_s16_p8", 384, 6_355_944, 1.327, values={**_TINY, "stem_depths": (), "patch_size": 8},
    transferred=(75.962, 93.264),
)
_register(
    "small_r26_s32", 224, 36_431_912, 3.464, values={**_SMALL, **_R26},
    transferred=(81.864, 96.022),
)
_register(
    "small_r26_s32", 384, 36_468_392, 10.26, values={**_SMALL, **_R26},
    transferred=(84.048, 97.328),
)
_register(
    "large_r50_s32", 224, 328_994_856, 19.41, values={**_LARGE, **_R50},
    transferred=(84.422, 97.170),
)
_register(
    "large_r50_s32", 384, 329_092_136, 57.14, values={**_LARGE, **_R50},
    transferred=(86.182, 97.922),
)
# fmt: on
