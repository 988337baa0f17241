"""The transformers of "Vision Transformer for Small-Size Datasets" (Lee, Lee and Song, 2021).

Each is a base model as its authors trained it on images of 32 and 64 pixels, with two values that
can be set one by one: `spt`, shifted patch tokenization (§3.1), and `lsa`, locality self-attention
(§3.2). With both, the paper calls it SL-ViT, SL-CaiT and so on.
"""

from keras_deit.models.small_data import configs
from keras_deit.models.small_data.cait import SmallDataCaiT
from keras_deit.models.small_data.pit import SmallDataPiT
from keras_deit.models.small_data.swin import SmallDataSwin
from keras_deit.models.small_data.t2t import SmallDataT2T
from keras_deit.models.small_data.vit import SmallDataViT

__all__ = [
    "SmallDataCaiT",
    "SmallDataPiT",
    "SmallDataSwin",
    "SmallDataT2T",
    "SmallDataViT",
    "configs",
]
