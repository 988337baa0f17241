"""ViT and its hybrids compute what the authors' code and timm's port compute."""

import keras
import numpy as np
import parity_systems
import pytest
from harness import numpy, run
from keras import ops
from safetensors.numpy import save_file

from keras_deit.layers.positions import resize_positions
from keras_deit.models import ViT
from keras_deit.pretrained import load_pretrained, save_safetensors

JAX = "vit_jax.models_vit.VisionTransformer"
TIMM = "timm.models.vision_transformer.VisionTransformer with HybridEmbed"
# What timm computes otherwise than the authors.
TIMM_VALUES = {
    "approximate_gelu": False,
    "group_norm_epsilon": 1e-5,
    "standardization": "variance",
}
every_backend = pytest.mark.backends("tensorflow", "jax", "torch")
# Models of the published sizes: the small ones are of the same layers.
_FULL = [pytest.mark.slow, pytest.mark.nightly("jax")]


def by_case(*originals, full=None):
    found = [case for original in originals for case in parity_systems.cases(original, full)]
    return pytest.mark.parametrize(
        "case",
        [pytest.param(case, marks=_FULL if case.is_full else ()) for case in found],
        ids=str,
    )


def mapped(case, what, values, known):
    """Returns our arguments for a dictionary in an argument of the authors."""
    ours = {}
    for name, value in values.items():
        if name not in known:
            pytest.fail(f"{case} sets {what}.{name}={value!r}, which the test does not know.")
        ours |= known[name](value) if callable(known[name]) else {known[name]: value}
    return ours


def nothing(value):
    """Takes an argument that changes nothing in evaluation, or only how the code is written."""
    return {}


def classifier(value):
    return {"pooling": {"token": "token", "gap": "avg"}[value]}


def jax_arguments(case):
    width = case.arguments["hidden_size"]

    def transformer(values):
        known = {
            "num_layers": "depth",
            "num_heads": "num_heads",
            # A width that is a whole number however the quotient is rounded.
            "mlp_dim": lambda dim: {"mlp_ratio": (dim + 1e-3) / width},
            "dropout_rate": "dropout_rate",
            # Every released model has 0.
            "attention_dropout_rate": nothing,
            "add_position_embedding": "positions",
        }
        return mapped(case, "transformer", values, known)

    def resnet(values):
        if values is None:
            return {}
        known = {
            "num_layers": lambda depths: {"stem_depths": depths or ()},
            "width_factor": lambda factor: {"stem_width": int(64 * factor)},
        }
        return mapped(case, "resnet", values, known)

    def patches(value):
        return {"patch_size": tuple(value["size"] if isinstance(value, dict) else value)}

    known = {
        "num_classes": lambda count: {"num_classes": count or 0},
        "hidden_size": "embed_dim",
        "transformer": transformer,
        "patches": patches,
        "resnet": resnet,
        "representation_size": "representation_size",
        "classifier": classifier,
        "head_bias_init": "head_bias",
        "model_name": nothing,
    }
    size = case.spec["original"]["image_size"]
    return {**case.constructor(known), "image_size": size}


def timm_arguments(case):
    known = {
        "num_classes": "num_classes",
        "img_size": "image_size",
        "patch_size": "patch_size",
        "in_chans": "in_channels",
        "embed_dim": "embed_dim",
        "depth": "depth",
        "num_heads": "num_heads",
        "mlp_ratio": "mlp_ratio",
        "qkv_bias": "qkv_bias",
        "drop_rate": nothing,
        "pos_drop_rate": nothing,
        "proj_drop_rate": nothing,
        "attn_drop_rate": nothing,
        "drop_path_rate": "drop_path_rate",
        "layers": "stem_depths",
        "stem_chs": "stem_width",
        "channels": lambda widths: {"stage_channels": widths[: len(case.arguments["layers"])]},
    }
    return {**case.constructor(known), **TIMM_VALUES}


def arguments(case):
    is_timm = case.spec["original"]["class"] == TIMM
    return timm_arguments(case) if is_timm else jax_arguments(case)


class Inside(keras.layers.Layer):
    """Calls sublayers, whose names may be those of layers of the model, one after the other."""

    def __init__(self, *sublayers):
        super().__init__()
        self.sublayers = sublayers

    def call(self, x):
        for layer in self.sublayers:
            x = layer(x)
        return x


def results(case, model):
    """Returns the intermediate results by the README's names."""
    is_timm = case.spec["original"]["class"] == TIMM
    patches = model.get_layer("patch_embedding").output
    if not is_timm:
        patches = ops.reshape(patches, (-1, *model.patch_grid(), patches.shape[-1]))
    has_dense = model.get_config()["representation_size"] is not None
    pre_logits = model.get_layer("pre_logits") if has_dense else None
    found = {
        "patch_embedding": patches,
        "tokens": model.blocks[0].input,
        "encoder": model.get_layer("norm").output,
        "blocks": model.blocks[-1].output,
        # The original's tanh is behind it.
        "pre_logits": pre_logits.output if pre_logits else model.feature_model().output,
        **{f"block_{index}": block.output for index, block in enumerate(model.blocks)},
    }
    config = model.get_config()
    if config["stem_depths"] is None:
        return found
    root = model.get_layer("root")
    normalized = Inside(root.conv, root.norm)(model.input)
    found["root_conv"] = Inside(root.conv)(model.input)
    found["root_norm"] = ops.relu(normalized) if is_timm else normalized
    found["root"] = root.output
    for stage, count in enumerate(config["stem_depths"]):
        found[f"stage_{stage + 1}"] = model.get_layer(f"stage_{stage}_unit_{count - 1}").output
    return found


def loaded(case, folder, **changed):
    model = ViT(**{**arguments(case), **changed})
    parity_systems.load(case, model, folder)
    return model


def logits_differ_by(case, model):
    return np.abs(numpy(run(model, case.arrays["images"])) - case.arrays["logits"]).max()


@every_backend
@by_case(JAX, TIMM)
def test_everything_equals_the_original(case, tmp_path):
    model = loaded(case, tmp_path)
    parity_systems.check_counts(case, model)
    print(parity_systems.check_model(case, model, results(case, model)))


@pytest.mark.parametrize(
    "case",
    [case for case in parity_systems.cases(JAX) if case.file("weights.npz").exists()],
    ids=str,
)
def test_npz_as_released(case):
    model = ViT(**arguments(case))
    load_pretrained(model, case.file("weights.npz"))
    assert logits_differ_by(case, model) <= case.tolerance("logits")


@by_case(JAX, full=False)
def test_a_file_by_timms_names_equals_the_original_with_the_originals_values(case, tmp_path):
    save_safetensors(loaded(case, tmp_path), tmp_path / "timm.safetensors")
    model = ViT(**arguments(case))
    load_pretrained(model, tmp_path / "timm.safetensors")
    assert logits_differ_by(case, model) <= case.tolerance("logits")


@by_case(JAX, full=False)
def test_timms_values_differ_from_the_original(case, tmp_path):
    """The comparison is fine enough to tell them apart."""
    assert logits_differ_by(case, loaded(case, tmp_path, **TIMM_VALUES)) > case.tolerance("logits")


@pytest.mark.parametrize(
    "case", parity_systems.cases("vit_jax.checkpoint.interpolate_posembed"), ids=str
)
def test_positions_of_the_authors_files_are_resized_as_they_do(case):
    for name, expected in case.expected().items():
        has_class = "no_class" not in name
        positions = case.arrays["positions" if has_class else "positions_no_class"]
        grids = [
            (round((value.shape[1] - has_class) ** 0.5),) * 2 for value in (positions, expected)
        ]
        found = resize_positions(positions, *grids, corner_aligned=True)
        np.testing.assert_allclose(found, expected, rtol=0, atol=case.tolerance(name))
        assert np.abs(resize_positions(positions, *grids) - expected).max() > 0.1


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_positions_of_a_file_are_resized_by_its_format(suffix, tmp_path):
    """The authors' files as they do, timm's bicubically."""
    case = next(case for case in parity_systems.cases(JAX, full=False))
    model = loaded(case, tmp_path)
    path = tmp_path / f"resized.{suffix}"
    if suffix == "npz":
        np.savez(path, **case.tensors)
    else:
        save_safetensors(model, path)
    rows, columns = model.patch_grid()
    side, _ = model.get_config()["patch_size"]
    target = (rows + 3, columns + 2)
    other = ViT(**{**arguments(case), "image_size": (target[0] * side, target[1] * side)})
    load_pretrained(other, path)
    held = case.tensors["Transformer/posembed_input/pos_embedding"]
    expected = resize_positions(held, (rows, columns), target, corner_aligned=suffix == "npz")
    found = numpy(other.get_layer("position_embedding").positions)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def transformers_names(tensors):
    """Returns the tensors of a plain ViT by the names of transformers."""
    renamed = {}
    for name, tensor in tensors.items():
        tensor = tensor.T if name.endswith("kernel") and tensor.ndim == 2 else tensor
        parts = name.split("/")
        where = f"vit.encoder.layer.{parts[1].split('_')[1]}" if "encoderblock" in name else None
        leaf = "weight" if parts[-1] in ("kernel", "scale") else "bias"
        if name == "cls":
            renamed["vit.embeddings.cls_token"] = tensor
        elif name.endswith("pos_embedding"):
            renamed["vit.embeddings.position_embeddings"] = tensor
        elif parts[0] == "embedding":
            if leaf == "weight":
                tensor = tensor.transpose(3, 2, 0, 1)
            renamed[f"vit.embeddings.patch_embeddings.projection.{leaf}"] = tensor
        elif parts[0] == "head":
            renamed[f"classifier.{leaf}"] = tensor
        elif "encoder_norm" in name:
            renamed[f"vit.layernorm.{leaf}"] = tensor
        elif "MultiHead" in name and parts[-2] == "out":
            tensor = tensor.reshape(-1, tensor.shape[-1]).T if leaf == "weight" else tensor
            renamed[f"{where}.attention.output.dense.{leaf}"] = tensor
        elif "MultiHead" in name:
            tensor = tensor.reshape(len(tensor), -1).T if leaf == "weight" else tensor.reshape(-1)
            renamed[f"{where}.attention.attention.{parts[-2]}.{leaf}"] = tensor
        else:
            module = {
                "LayerNorm_0": "layernorm_before",
                "LayerNorm_2": "layernorm_after",
                "Dense_0": "intermediate.dense",
                "Dense_1": "output.dense",
            }[parts[-2]]
            renamed[f"{where}.{module}.{leaf}"] = tensor
    return {name: np.ascontiguousarray(tensor) for name, tensor in renamed.items()}


def test_a_file_of_transformers(tmp_path):
    case = next(
        case
        for case in parity_systems.cases(JAX, full=False)
        if case.arguments["resnet"] is None and case.arguments["representation_size"] is None
    )
    save_file(transformers_names(case.tensors), tmp_path / "model.safetensors")
    model = ViT(**arguments(case))
    load_pretrained(model, tmp_path / "model.safetensors")
    assert logits_differ_by(case, model) <= case.tolerance("logits")
