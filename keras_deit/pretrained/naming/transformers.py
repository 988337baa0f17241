"""DeiT's names in Hugging Face's transformers, which publishes plain DeiT as a ViT."""

from keras_deit.pretrained.naming.layouts import BARE, CONVOLUTION, DENSE, NORM, Table


def _backbone(prefix: str) -> Table:
    layer = f"{prefix}.encoder.layer.{{i}}"
    attention = f"{layer}.attention.attention"
    qkv = (f"{attention}.query", f"{attention}.key", f"{attention}.value")
    return {
        "class_token": (f"{prefix}.embeddings.cls_token", BARE),
        "position_embedding": (f"{prefix}.embeddings.position_embeddings", BARE),
        "patch_embedding/projection": (
            f"{prefix}.embeddings.patch_embeddings.projection",
            CONVOLUTION,
        ),
        "block_{i}/norm1": (f"{layer}.layernorm_before", NORM),
        "block_{i}/attention/qkv": (qkv, DENSE),
        "block_{i}/attention/projection": (f"{layer}.attention.output.dense", DENSE),
        "block_{i}/norm2": (f"{layer}.layernorm_after", NORM),
        "block_{i}/mlp/expand": (f"{layer}.intermediate.dense", DENSE),
        "block_{i}/mlp/contract": (f"{layer}.output.dense", DENSE),
        "norm": (f"{prefix}.layernorm", NORM),
    }


TRANSFORMERS_VIT: Table = {**_backbone("vit"), "class_head": ("classifier", DENSE)}

TRANSFORMERS_DEIT: Table = {
    **_backbone("deit"),
    "distillation_token": ("deit.embeddings.distillation_token", BARE),
    "class_head": ("cls_classifier", DENSE),
    "distillation_head": ("distillation_classifier", DENSE),
}
