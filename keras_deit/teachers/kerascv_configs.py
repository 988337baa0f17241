"""The configurations of KerasCV's classification backbones, by preset name.

KerasCV 0.9 downloads the configuration of a preset even if no weights are needed. With the
configurations in this module an untrained backbone is built without a network. They are those of
the cited papers as arguments of KerasCV. The tests compare the parameter counts with KerasCV's
table of presets and with keras.applications.
"""

_RESNET = {"stackwise_filters": [64, 128, 256, 512], "stackwise_strides": [1, 2, 2, 2]}
_RESNET_DEPTHS = {
    18: ([2, 2, 2, 2], "basic_block"),
    34: ([3, 4, 6, 3], "basic_block"),
    50: ([3, 4, 6, 3], "block"),
    101: ([3, 4, 23, 3], "block"),
    152: ([3, 8, 36, 3], "block"),
}
_EFFICIENTNET_B = {  # Tan & Le 2019, table 1
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
}
# The coefficients of width and depth of EfficientNet B0 to B7. Lite and V2 B use the first ones.
_COMPOUND = [(1, 1), (1, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2, 3.1)]


def _efficientnet_v2(repeats: list[int], filters: list[int]) -> dict:
    """Returns a configuration of EfficientNetV2 (Tan & Le 2021, table 4).

    It has three fused stages, then stages of MBConv with squeeze-and-excitation.

    Args:
        repeats: number of blocks of each stage.
        filters: width of the stem, then of each stage.
    """
    unfused = len(repeats) - 3
    return {
        "stackwise_kernel_sizes": [3] * len(repeats),
        "stackwise_num_repeats": repeats,
        "stackwise_input_filters": filters[:-1],
        "stackwise_output_filters": filters[1:],
        "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6, 6][: len(repeats)],
        "stackwise_squeeze_and_excite_ratios": [0] * 3 + [0.25] * unfused,
        "stackwise_strides": [1, 2, 2, 2, 1, 2, 1][: len(repeats)],
        "stackwise_conv_types": ["fused"] * 3 + ["unfused"] * unfused,
    }


def _scaled(config: dict, coefficients: tuple[float, float]) -> dict:
    width, depth = coefficients
    return {**config, "width_coefficient": width, "depth_coefficient": depth}


def _resnets(suffix: str) -> dict[str, dict]:
    return {
        f"resnet{depth}{suffix}": {**_RESNET, "stackwise_blocks": blocks, "block_type": block_type}
        for depth, (blocks, block_type) in _RESNET_DEPTHS.items()
    }


_MOBILENET_V3 = {
    "mobilenet_v3_small": {  # Howard et al. 2019, table 2
        "stackwise_expansion": [1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
        "stackwise_filters": [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
        "stackwise_kernel_size": [3] * 3 + [5] * 8,
        "stackwise_stride": [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
        "stackwise_se_ratio": [0.25, None, None] + [0.25] * 8,
        "stackwise_activation": ["relu"] * 3 + ["hard_swish"] * 8,
    },
    "mobilenet_v3_large": {  # Howard et al. 2019, table 1
        "stackwise_expansion": [1, 4, 3, 3, 3, 3, 6, 2.5, 2.3, 2.3, 6, 6, 6, 6, 6],
        "stackwise_filters": [16, 24, 24] + [40] * 3 + [80] * 4 + [112] * 2 + [160] * 3,
        "stackwise_kernel_size": [3] * 3 + [5] * 3 + [3] * 6 + [5] * 3,
        "stackwise_stride": [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1],
        "stackwise_se_ratio": [None] * 3 + [0.25] * 3 + [None] * 4 + [0.25] * 5,
        "stackwise_activation": ["relu"] * 6 + ["hard_swish"] * 9,
    },
}
_V2_B = _efficientnet_v2([1, 2, 2, 3, 5, 8], [32, 16, 32, 48, 96, 112, 192])
_EFFICIENTNET_V2 = {
    f"efficientnetv2_{size}": _scaled(config, coefficients)
    for size, config, coefficients in [
        ("s", _efficientnet_v2([2, 4, 4, 6, 9, 15], [24, 24, 48, 64, 128, 160, 256]), (1, 1)),
        (
            "m",
            _efficientnet_v2([3, 5, 5, 7, 14, 18, 5], [24, 24, 48, 80, 160, 176, 304, 512]),
            (1, 1),
        ),
        (
            "l",
            _efficientnet_v2([4, 7, 7, 10, 19, 25, 7], [32, 32, 64, 96, 192, 224, 384, 640]),
            (1, 1),
        ),
        *((f"b{index}", _V2_B, _COMPOUND[index]) for index in range(4)),
    ]
}
_EFFICIENTNET_V1 = {
    f"efficientnetv1_b{index}": _scaled(
        {**_EFFICIENTNET_B, "stackwise_squeeze_and_excite_ratios": [0.25] * 7}, coefficients
    )
    for index, coefficients in enumerate(_COMPOUND)
}
_EFFICIENTNET_LITE = {
    f"efficientnetlite_b{index}": _scaled(_EFFICIENTNET_B, _COMPOUND[index]) for index in range(5)
}
_DENSENET = {  # Huang et al. 2017, table 1
    f"densenet{depth}": {"stackwise_num_repeats": repeats}
    for depth, repeats in [
        (121, [6, 12, 24, 16]),
        (169, [6, 12, 32, 32]),
        (201, [6, 12, 48, 32]),
    ]
}
_CSP_DARKNET = {
    f"csp_darknet_{size}": {"stackwise_channels": channels, "stackwise_depth": depths}
    for size, channels, depths in [
        ("tiny", [48, 96, 192, 384], [1, 3, 3, 1]),
        ("s", [64, 128, 256, 512], [1, 3, 3, 1]),
        ("m", [96, 192, 384, 768], [2, 6, 6, 2]),
        ("l", [128, 256, 512, 1024], [3, 9, 9, 3]),
        ("xl", [170, 340, 680, 1360], [4, 12, 12, 4]),
    ]
}
_YOLO_V8 = {
    f"yolo_v8_{size}_backbone": {"stackwise_channels": channels, "stackwise_depth": depths}
    for size, channels, depths in [
        ("xs", [32, 64, 128, 256], [1, 2, 2, 1]),
        ("s", [64, 128, 256, 512], [1, 2, 2, 1]),
        ("m", [96, 192, 384, 576], [2, 4, 4, 2]),
        ("l", [128, 256, 512, 512], [3, 6, 6, 3]),
        ("xl", [160, 320, 640, 640], [3, 6, 6, 3]),
    ]
}
_MIT = {  # Xie et al. 2021, table 6
    f"mit_b{index}": {
        "depths": depths,
        "embedding_dims": [32, 64, 160, 256] if index == 0 else [64, 128, 320, 512],
    }
    for index, depths in enumerate(
        [[2, 2, 2, 2], [2, 2, 2, 2], [3, 4, 6, 3], [3, 4, 18, 3], [3, 8, 27, 3], [3, 6, 40, 3]]
    )
}

# The arguments of the constructor, by KerasCV class and name of the preset.
BACKBONES = {
    "ResNetBackbone": _resnets(""),  # He et al. 2016, table 1
    "ResNetV2Backbone": _resnets("_v2"),
    "MobileNetV3Backbone": _MOBILENET_V3,
    "EfficientNetV1Backbone": _EFFICIENTNET_V1,
    "EfficientNetV2Backbone": _EFFICIENTNET_V2,
    "EfficientNetLiteBackbone": _EFFICIENTNET_LITE,
    "DenseNetBackbone": _DENSENET,
    "CSPDarkNetBackbone": _CSP_DARKNET,
    "YOLOV8Backbone": _YOLO_V8,
    "MiTBackbone": _MIT,
}

# The presets with weights, by KerasCV class. Those of ImageClassifier have their own head.
WEIGHTED_PRESETS = {
    "ResNetBackbone": ["resnet50_imagenet"],
    "ResNetV2Backbone": ["resnet50_v2_imagenet"],
    "MobileNetV3Backbone": ["mobilenet_v3_small_imagenet", "mobilenet_v3_large_imagenet"],
    "EfficientNetV2Backbone": [
        f"efficientnetv2_{size}_imagenet" for size in ("s", "b0", "b1", "b2")
    ],
    "DenseNetBackbone": [f"densenet{depth}_imagenet" for depth in (121, 169, 201)],
    "CSPDarkNetBackbone": ["csp_darknet_tiny_imagenet", "csp_darknet_l_imagenet"],
    "YOLOV8Backbone": [f"{name}_coco" for name in _YOLO_V8],
    "MiTBackbone": ["mit_b0_imagenet"],
    "ImageClassifier": [
        f"{name}_imagenet_classifier"
        for name in (
            "resnet50_v2",
            *(f"efficientnetv2_{size}" for size in ("s", "b0", "b1", "b2")),
            "mobilenet_v3_large",
        )
    ],
}
