"""The published configurations of CViT, by their positions.

The paper has 38.6 million parameters, which leaves out the transformer: the convolutions, the
embedding of the patch and the head have 38,607,682.
"""

from keras_deit.models.cvit.model import CViT
from keras_deit.models.registry import register_model


def _register(name: str, positions: str, parameters: int) -> None:
    register_model(
        name,
        CViT,
        image_size=224,
        positions=positions,
        num_classes=2,
        parameters=parameters,
        gmacs=6.646,
        crop_ratio=1.0,
        interpolation="bilinear",
        source="github.com/erprogs/CViT",
    )


_register("cvit_224", "token", 88_991_554)
# What the released weights of CViT2 have, and those of the first version, whose logits depend on
# the place of an image in the batch.
_register("cvit2_224", "image", 90_039_106)
_register("cvit_old_224", "batch", 89_022_274)
