"""The case of the hMLP stem."""

from deit3_reference import HMLP_BIASES, hmlp_stem
from harness import Case, Effect

from keras_deit import layers

HMLP = Case(
    layers.HierarchicalMLPStem,
    {"embed_dim": 8},
    # Three pixels on the right and four at the bottom belong to no patch.
    (2, 52, 35, 3),
    (Effect("embed_dim", 12, "shapes"),),
    hmlp_stem,
    canceled=HMLP_BIASES,
)

CASES = (HMLP,)
