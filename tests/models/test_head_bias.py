"""`init_head_bias`, in this process and in new processes of JAX with and without a distribution."""

import json

import numpy as np
import pytest
from cait_model_cases import TOKEN_PER_CLASS
from harness import numpy, run
from model_cases import DISTILLED, PLAIN
from processes import end, start

# Every variable keeps its layout, and the logits of all devices' images are the bias.
SCRIPT = """
import json, sys
import keras, jax, numpy as np
from keras_deit.models import DeiT

devices = int(sys.argv[1])
assert jax.device_count() == 2
if devices:
    keras.distribution.set_distribution(keras.distribution.DataParallel(
        devices=keras.distribution.list_devices()[:devices], auto_shard_dataset=False))
model = DeiT(image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3,
             distilled=True)
sharding = [variable.value.sharding for variable in model.variables]
model.init_head_bias(-6.9)
assert [variable.value.sharding for variable in model.variables] == sharding
kernel = model.head_layers["class"].kernel
logits = model.predict(np.ones((4, 8, 8, 3), "float32"), verbose=0)
print(json.dumps({
    "devices": len(kernel.value.sharding.device_set),
    "dtype": str(kernel.value.dtype),
    "logits": np.unique(logits).tolist(),
}))
"""


every_backend = pytest.mark.backends("tensorflow", "jax", "torch")


@pytest.mark.parametrize(
    "case", [PLAIN, pytest.param(DISTILLED, marks=every_backend), TOKEN_PER_CLASS]
)
def test_every_head_starts_with_its_bias(case):
    model = case.build_random()
    others = [w for w in model.weights if "head" not in w.path]
    before = [numpy(weight) for weight in others]
    model.init_head_bias(-2.0)
    for logits in run(model.heads, case.inputs()).values():
        np.testing.assert_array_equal(numpy(logits), np.full((3, 5), -2.0))
    for weight, value in zip(others, before, strict=True):
        np.testing.assert_array_equal(numpy(weight), value)


@pytest.mark.slow
@pytest.mark.backends("jax")
@pytest.mark.parametrize("devices", [0, 2], ids=["no distribution", "two devices"])
def test_a_new_process_of_jax_with_and_without_a_distribution(devices):
    flags = "--xla_force_host_platform_device_count=2"
    printed = json.loads(end(start("-c", SCRIPT, str(devices), backend="jax", XLA_FLAGS=flags)))
    assert printed["devices"] == max(devices, 1)
    assert printed["dtype"] == "float32"
    assert printed["logits"] == [np.float32(-6.9)]
