"""Weight files of models with LoRA, and of quantized models."""

import keras
import numpy as np
import pytest
from harness import Case, numpy, run

from keras_deit import InputError, load_pretrained
from keras_deit.models import DeiT
from keras_deit.pretrained.conversion import change_model, save_model

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")

SIZES = {"image_size": (12, 8), "patch_size": 4, "embed_dim": 8, "depth": 2, "num_heads": 2}
DISTILLED = Case(DeiT, {**SIZES, "distilled": True, "num_classes": 5}, (3, 12, 8, 3), ())


def adapted():
    model = DISTILLED.build_random()
    for layer in (model.blocks[0].attention_branch[1].qkv, model.get_layer("class_head")):
        layer.enable_lora(2, lora_alpha=6)
        layer.lora_kernel_b.assign(keras.random.normal(layer.lora_kernel_b.shape, seed=1))
    return model


def assert_same_logits(model, other):
    expected = numpy(run(other, DISTILLED.inputs()))
    received = numpy(run(model, DISTILLED.inputs()))
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["a.safetensors", "a.weights.h5", "a.keras"])
def test_lora_is_merged_into_the_kernels(name, tmp_path):
    model, plain = adapted(), DISTILLED.build()
    save_model(model, tmp_path / name)
    load_pretrained(plain, tmp_path / name)
    assert_same_logits(plain, model)


@pytest.mark.parametrize("name", ["a.safetensors", "a.weights.h5"])
def test_a_model_with_lora_loads_a_file_and_then_computes_the_same(name, tmp_path):
    plain, model = DISTILLED.build_random(), adapted()
    save_model(plain, tmp_path / name)
    load_pretrained(model, tmp_path / name)
    assert_same_logits(model, plain)


def test_a_quantized_model_is_refused_with_the_reason(tmp_path):
    plain, model = DISTILLED.build(), DISTILLED.build()
    model.quantize("int8", filters="class_head")
    save_model(plain, tmp_path / "plain.safetensors")
    save_model(model, tmp_path / "a.keras")
    refused = [
        lambda: save_model(model, tmp_path / "a.safetensors"),
        lambda: save_model(model, tmp_path / "a.weights.h5"),
        lambda: load_pretrained(model, tmp_path / "plain.safetensors"),
        lambda: load_pretrained(plain, tmp_path / "a.keras"),
        lambda: change_model(model, num_classes=3),
    ]
    for call in refused:
        with pytest.raises(InputError, match=r"is quantized \(int8 in 1 layers\).*\.keras file"):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.keras", "plain.safetensors"]
