"""What timm computes with a small RegNetY, and the weights and images that it was given.

`regnet_timm.json` holds the shapes of the tensors by timm's names, and what timm's `RegNet` with
`RegNetCfg(w0=8, wa=8.0, wm=2.0, group_size=8, depth=6, se_ratio=0.25, stem_width=8)` and 5 classes
returned in float32: the logits, and the means over the grid after the stem and after each stage.
"""

import json
import pathlib

import numpy as np

RECORDED = pathlib.Path(__file__).with_suffix(".json")
# The same model here.
ARGUMENTS = {
    "image_size": (33, 30),
    "widths": (8, 16, 32, 64),
    "depth": (1, 1, 3, 1),
    "group_width": 8,
    "stem_width": 8,
    "num_classes": 5,
}


def recorded() -> dict:
    return json.loads(RECORDED.read_text())


def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 33, 30, 3)).astype("float32")


def drawn(shapes: dict) -> dict[str, np.ndarray]:
    """Returns random tensors; variances and the scales of normalizations are positive."""
    tensors = {}
    for index, (name, shape) in enumerate(sorted(shapes.items())):
        rng = np.random.default_rng([3, index])
        if name.endswith("num_batches_tracked"):
            tensors[name] = np.array(7)
        elif name.endswith(("running_var", "bn.weight")):
            tensors[name] = rng.uniform(0.5, 1.5, shape).astype("float32")
        else:
            fan_in = max(int(np.prod(shape[1:])), 1)
            deviation = fan_in**-0.5 if len(shape) > 1 else 0.2
            tensors[name] = rng.normal(0, deviation, shape).astype("float32")
    return tensors
