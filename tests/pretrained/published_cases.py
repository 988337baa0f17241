"""The acceptance data, and the same tensors with the names of timm and Hugging Face.

These names are derived here from the authors' by substitution, without the package's own tables.
"""

import functools
import json
import pathlib
import re

import keras
import numpy as np
from harness import numpy, randomize, run
from safetensors.numpy import load_file

from keras_deit import create_model
from keras_deit.layers.initializers import skip_init

DATA = pathlib.Path(__file__).parent / "data"
SPECS = json.loads((DATA / "specs.json").read_text())
CASES = list(SPECS)
RESIZED = sorted(path.stem for path in DATA.glob("*_resized_*.npz"))


def values(case: str, **changed) -> dict:
    return {**SPECS[case]["create"], **changed}


@functools.cache
def shared_model(case: str, image_size: int | None = None) -> keras.Model:
    """Returns one model for each case; a test fills it before it reads it."""
    size = {} if image_size is None else {"image_size": image_size}
    with skip_init():
        return create_model(**values(case, **size))


def scrambled(case: str, image_size: int | None = None) -> keras.Model:
    """Returns the shared model with other values in every weight."""
    model = shared_model(case, image_size)
    randomize(model, 7.0)
    return model


@functools.cache
def _heads(model):
    return model.heads


def head_logits(model, images) -> dict[str, np.ndarray]:
    """Returns the logits of each head, and of the model as a whole."""
    heads = {name: numpy(logits) for name, logits in run(_heads(model), images).items()}
    return {**heads, "fused": numpy(run(model, images))}


def published_logits(outputs) -> dict[str, np.ndarray]:
    """Returns the same from the authors' code."""
    if "class_logits" not in outputs:
        return {"class": outputs["logits"], "fused": outputs["logits"]}
    names = {"class": "class_logits", "distillation": "distillation_logits", "fused": "logits"}
    return {name: outputs[key] for name, key in names.items()}


def tensors(case: str) -> dict[str, np.ndarray]:
    """Returns the weights by the authors' names."""
    return load_file(DATA / f"{case}.safetensors")


def timm_tensors(case: str) -> dict[str, np.ndarray]:
    """Returns the weights by timm's names if timm has the architecture, else by the authors'."""
    return dict(_timm_tensor(case, *item) for item in tensors(case).items())


def _timm_tensor(case, name, tensor):
    if case == "deit3":
        name = re.sub(r"gamma_([12])$", r"ls\1.gamma", name)
    if case == "deit_parallel":
        for old, new in _TIMM_PARALLEL:
            name = re.sub(rf"^(blocks\.\d+)\.{old}(?=\.|$)", rf"\1.{new}", name)
    if case == "resmlp":
        for old, new in _TIMM_RESMLP:
            name = name.replace(old, new)
        if name.endswith((".alpha", "norm.beta", "norm1.beta", "norm2.beta")):
            tensor = tensor.reshape(1, 1, -1)
    return name, tensor


_TIMM_RESMLP = (
    *(("patch_embed.", "stem."), ("attn.", "linear_tokens."), ("mlp.", "mlp_channels.")),
    *(("gamma_1", "ls1"), ("gamma_2", "ls2")),
)
_TIMM_PARALLEL = (
    *(("norm11", "attns.1.norm"), ("norm1", "attns.0.norm")),
    *(("norm21", "ffns.1.norm"), ("norm2", "ffns.0.norm")),
    *(("attn1", "attns.1.attn"), ("attn", "attns.0.attn")),
    *(("mlp1", "ffns.1.mlp"), ("mlp", "ffns.0.mlp")),
    *(("gamma_1_1", "attns.1.ls.gamma"), ("gamma_1", "attns.0.ls.gamma")),
    *(("gamma_2_1", "ffns.1.ls.gamma"), ("gamma_2", "ffns.0.ls.gamma")),
)


def transformers_tensors(case: str) -> dict[str, np.ndarray]:
    """Returns the weights of a DeiT by Hugging Face's names, with the published pooler."""
    prefix = "deit" if case == "deit_distilled" else "vit"
    width = SPECS[case]["create"]["embed_dim"]
    renamed = {f"{prefix}.pooler.dense.weight": np.ones((width, width), "float32")}
    renamed[f"{prefix}.pooler.dense.bias"] = np.ones(width, "float32")
    for name, tensor in tensors(case).items():
        qkv = re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(\w+)", name)
        if qkv:
            parts = zip(("query", "key", "value"), np.split(tensor, 3), strict=True)
            start = f"{prefix}.encoder.layer.{qkv[1]}.attention.attention"
            renamed |= {f"{start}.{part}.{qkv[2]}": values for part, values in parts}
            continue
        for old, new in _TRANSFORMERS:
            name = re.sub(f"^{old}", new.replace("PREFIX", prefix), name)
        if case == "deit_distilled":
            name = name.replace("classifier", "cls_classifier", name.startswith("classifier"))
        renamed[name] = tensor
    return renamed


_TRANSFORMERS = (
    ("cls_token", "PREFIX.embeddings.cls_token"),
    ("dist_token", "PREFIX.embeddings.distillation_token"),
    ("pos_embed", "PREFIX.embeddings.position_embeddings"),
    ("patch_embed.proj", "PREFIX.embeddings.patch_embeddings.projection"),
    (r"blocks\.(\d+)\.norm1", r"PREFIX.encoder.layer.\1.layernorm_before"),
    (r"blocks\.(\d+)\.norm2", r"PREFIX.encoder.layer.\1.layernorm_after"),
    (r"blocks\.(\d+)\.attn\.proj", r"PREFIX.encoder.layer.\1.attention.output.dense"),
    (r"blocks\.(\d+)\.mlp\.fc1", r"PREFIX.encoder.layer.\1.intermediate.dense"),
    (r"blocks\.(\d+)\.mlp\.fc2", r"PREFIX.encoder.layer.\1.output.dense"),
    ("norm", "PREFIX.layernorm"),
    (r"head_dist", "distillation_classifier"),
    (r"head\.", "classifier."),
)
