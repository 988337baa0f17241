"""Mixed precision: what is computed in which dtype, and that a training works in it."""

import keras
import numpy as np
import pytest
from harness import numpy
from operations_seen import operations
from sklearn.datasets import load_digits

from keras_deit import Distiller, InputError, create_model
from keras_deit.core.precision import precision, training_precision
from keras_deit.optimizers import AdamW, StepCosine

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")

POLICIES = ("mixed_bfloat16", "mixed_float16")
SMALL = {"image_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_classes": 10}
HEADS = {**SMALL, "num_heads": 3}
CONVOLUTIONAL = {"image_size": 32, "embed_dim": 24, "depth": 1, "num_classes": 10}
MODELS = {
    "deit_tiny_distilled_patch16_224": HEADS,
    "deit3_small_patch16_224": HEADS,
    "cait_xxs24_224": HEADS,
    "sl_vit_patch4_32": HEADS,
    "sl_cait_patch4_32": HEADS,
    "sl_t2t_32": {
        **{"image_size": 16, "token_dim": 8, "embed_dim": 24, "depth": 1, "num_heads": 3},
        "num_classes": 10,
    },
    "resmlp_12_224": SMALL,
    "vit_small_r26_s32_224": {**HEADS, "patch_size": 1, "stem_depths": (1, 1), "stem_width": 32},
    "patchconvnet_s60_multi_224": CONVOLUTIONAL,
    # The second block has shifted windows.
    "sl_swin_patch2_32": {**SMALL, "patch_size": 2, "depth": (2, 1), "num_heads": (3, 6)},
    "binary_vit_small_patch4_224": {
        **{"image_size": 16, "embed_dim": 24, "depth": (1, 1), "num_heads": 3, "mlp_ratio": 2},
        **{"reduction": (2, 1), "num_classes": 10},
    },
}
# The operations of softmax, norms, squared means and sums. PyTorch's fused attention has another.
DELICATE = {
    "jax": {"exp", "rsqrt", "reduce_sum"},
    "tensorflow": {"Softmax", "Exp", "Rsqrt", "Mean", "Sum"},
    "torch": {"_softmax", "exp", "rsqrt", "native_layer_norm", "mean", "sum"},
}
SOFTMAX = {"jax": "exp", "tensorflow": "Softmax", "torch": "_softmax"}
FUSED = "_scaled_dot_product_flash_attention_for_cpu"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", MODELS)
def test_softmax_norms_and_heads_are_computed_in_float32(name, policy):
    with precision(policy):
        model = create_model(name, drop_path_rate=0.1, **MODELS[name])
    images = np.zeros((2, *model.input_shape[1:]), "float32")
    seen = operations(model, images, training=True)
    delicate = {(op, dtype) for op, dtype in seen if op in DELICATE[BACKEND]}
    assert delicate and {dtype for _, dtype in delicate} == {"float32"}
    names = {op for op, _ in seen}
    assert name.startswith("resmlp") or names & {SOFTMAX[BACKEND], FUSED}
    # Other operations are computed in the policy's dtype.
    assert policy.removeprefix("mixed_") in {dtype for _, dtype in seen}
    assert all(head.dtype == "float32" for head in model.heads.output.values())
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}


def digits():
    data = load_digits()
    images = np.kron(data.images[:256, ..., None] / 8 - 1, np.ones((1, 2, 2, 3)))
    return images.astype("float32"), data.target[:256]


def train(policy):
    """Distills for three epochs of eight steps, with everything that reads the optimizer."""
    keras.utils.set_random_seed(0)
    with precision(policy):
        student = create_model("deit_tiny_distilled_patch16_224", **HEADS)
        with precision("float32"):
            teacher = keras.Sequential(
                [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
            )
        distiller = Distiller(student, teacher, kind="soft", ema_decay=0.5)
        optimizer = AdamW(StepCosine(3e-3, 24, 4), global_clipnorm=1.0)
        # XLA compiles for longer than all these steps take.
        distiller.compile(optimizer, jit_compile=BACKEND == "jax")
        images, labels = digits()
        history = distiller.fit(images, labels, batch_size=32, epochs=3, verbose=0, shuffle=False)
    return distiller, history.history["loss"]


@pytest.fixture(scope="module")
def float32_losses():
    return train("float32")[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    [
        "mixed_bfloat16",
        pytest.param("mixed_float16", marks=pytest.mark.backends("tensorflow", "torch")),
    ],
)
def test_distillation_trains_as_in_float32(policy, float32_losses):
    distiller, losses = train(policy)
    np.testing.assert_allclose(losses, float32_losses, rtol=0.02)
    assert losses[-1] < losses[0] - 0.03
    optimizer = distiller.optimizer
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert is_scaled == (policy == "mixed_float16")
    # Callbacks and averages read these through the loss scale.
    steps = int(numpy(optimizer.iterations))
    assert 20 <= steps <= 24
    rate = float(numpy(optimizer.learning_rate))
    assert rate == pytest.approx(float(numpy(StepCosine(3e-3, 24, 4)(steps))))
    own = optimizer.inner_optimizer if is_scaled else optimizer
    assert int(numpy(own.nonfinite_steps)) == 0
    differences = [
        np.abs(numpy(average) - numpy(weight)).max()
        for average, weight in zip(distiller.ema.weights, distiller.student.weights, strict=True)
    ]
    assert 0 < max(differences) < 0.1


@pytest.mark.backends("jax")
def test_float16_is_refused_on_jax_without_an_accelerator():
    with pytest.raises(InputError, match=r"CPU.*mixed_bfloat16"):
        training_precision("mixed_float16")


@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_precision_of_a_training_ends_with_it(policy):
    before = keras.config.dtype_policy()
    with training_precision(policy):
        assert keras.config.dtype_policy().name == policy
    assert keras.config.dtype_policy() == before
