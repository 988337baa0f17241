"""Which namings an architecture has, and which architecture a list of names is of."""

from collections.abc import Iterable

from keras_deit.errors import InputError, unknown_name
from keras_deit.models import Classifier
from keras_deit.pretrained.naming.cait import CAIT
from keras_deit.pretrained.naming.deit import DEIT
from keras_deit.pretrained.naming.deit3 import DEIT3, TIMM_DEIT3, TIMM_PARALLEL
from keras_deit.pretrained.naming.layouts import Table
from keras_deit.pretrained.naming.patchconvnet import PATCHCONVNET, PATCHCONVNET_MULTI
from keras_deit.pretrained.naming.resmlp import RESMLP, TIMM_RESMLP
from keras_deit.pretrained.naming.transformers import TRANSFORMERS_DEIT, TRANSFORMERS_VIT

# The namings that files can be written in.
NAMINGS = ("timm", "authors")

# What only one architecture has: parts of names, and who has all of them. The first that is found
# counts, so what an architecture shares with the next one comes after what sets it apart.
_MARKS = (
    ((".attn.qkv_pos.", "head.0."), "PatchConvNet with one token per class"),
    ((".attn.qkv_pos.",), "PatchConvNet"),
    (("blocks_token_only.",), "CaiT"),
    (("norm.alpha",), "ResMLP"),
    ((".attn1.qkv.",), "DeiT III with parallel blocks"),
    ((".attns.0.",), "DeiT III with parallel blocks"),
    (("blocks.0.gamma_1",), "DeiT III"),
    (("blocks.0.ls1.gamma",), "DeiT III"),
    (("patch_embed.proj.0.",), "DeiT III"),
    (("dist_token",), "distilled DeiT"),
    (("distillation_token",), "distilled DeiT"),
    (("blocks.0.attn.qkv.",), "DeiT"),
    ((".encoder.layer.0.attention.",), "DeiT"),
)


def tables(model: Classifier) -> dict[str, Table]:
    """The namings that a model's published weights can have, by who gave them.

    Raises:
        InputError: it is of no architecture of this package.
    """
    kind, values = type(model).__name__, model.get_config()
    if kind == "DeiT":
        by_transformers = {"Hugging Face DeiT": TRANSFORMERS_DEIT}
        return {"authors": DEIT, **by_transformers, "Hugging Face ViT": TRANSFORMERS_VIT}
    if kind == "DeiT3":
        return {"authors": DEIT3, "timm": TIMM_PARALLEL if values["branches"] > 1 else TIMM_DEIT3}
    if kind == "CaiT":
        return {"authors": CAIT}
    if kind == "ResMLP":
        return {"authors": RESMLP, "timm": TIMM_RESMLP}
    if kind == "PatchConvNet":
        return {"authors": PATCHCONVNET_MULTI if values["token_per_class"] else PATCHCONVNET}
    raise InputError(f"Only models of this package can take published weights, not a {kind}.")


def table_to_write(model: Classifier, naming: str) -> Table:
    """The names of a model's weights in `naming`; where timm has none of its own, the authors'.

    Raises:
        InputError: there is no such naming, or the model is of no architecture of this package.
    """
    if naming not in NAMINGS:
        raise unknown_name("naming", naming, NAMINGS)
    known = tables(model)
    return known.get(naming, known["authors"])


def describe(names: Iterable[str]) -> str | None:
    """The architecture that tensors of these names belong to; None where no mark is found."""
    names = list(names)
    for marks, kind in _MARKS:
        if all(any(mark in name for name in names) for mark in marks):
            return kind
    return None
