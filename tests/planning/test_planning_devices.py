"""A plan for several devices: what each holds, and what cannot be shared."""

import keras
import pytest

from keras_deit import InputError
from keras_deit.distributed import Devices
from keras_deit.planning import PlanOverrides, advice, make_plan
from keras_deit.planning.device import count_devices

GIVEN = {"device_tflops": 0.05, "device_memory_gb": 8.0}
on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="strategies of JAX")
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="strategies of TensorFlow"
)


def plan(job, **overrides):
    return make_plan(job, PlanOverrides(**{**GIVEN, **overrides}))


@on_jax
def test_devices_share_the_batch_and_accumulation_divides_it(tiny_job):
    one = plan(tiny_job())
    parts = plan(tiny_job({"accumulation_steps": 2}))
    four = plan(
        tiny_job({"accumulation_steps": 2}, {"devices": Devices("data_parallel")}), devices=4
    )
    assert (one.images, parts.images, four.images) == (400, 200, 50)
    assert (one.devices, four.devices, four.sharing) == (1, 4, 1)
    for name in ("activations", "batches", "teacher_activations"):
        whole, half, eighth = (getattr(p.memory, name) for p in (one, parts, four))
        assert (half, eighth) == (whole / 2, whole / 8), name
    assert four.memory.weights == one.memory.weights
    assert parts.memory.optimizer - one.memory.optimizer == one.memory.gradients
    assert four.step_seconds == one.step_seconds / 4
    assert four.steps == one.steps


@on_jax
def test_devices_share_a_model(tiny_job):
    def job(strategy):
        return tiny_job({"ema_decay": 0.9}, {"devices": Devices(strategy)},
                        model_values={"num_heads": 2})  # fmt: skip

    copied, split = (plan(job(s), devices=2) for s in ("data_parallel", "model_parallel"))
    assert (split.copies, split.sharing, split.images, copied.images) == (1, 2, 400, 200)
    # Of the one block of width 24: four pairs of kernels, and the biases of the first of each.
    halved = 4 * (12 * 24**2 + 7 * 24) // 2
    assert copied.memory.weights - split.memory.weights == halved
    assert copied.memory.gradients - split.memory.gradients == halved
    assert copied.memory.average - split.memory.average == halved
    assert copied.memory.optimizer - split.memory.optimizer == 2 * halved
    assert split.memory.teacher == copied.memory.teacher
    assert split.checkpoint == copied.checkpoint
    # The teacher is not split: each of the two does all of it.
    more = split.teacher_step_flops / 2 / split.device_flops
    assert split.step_seconds == pytest.approx(copied.step_seconds + more)


@on_jax
def test_devices_that_cannot_share(tiny_job):
    with pytest.raises(InputError, match="cannot be shared evenly by 3 devices"):
        plan(tiny_job(job={"devices": Devices("data_parallel")}), devices=3)
    with pytest.raises(InputError, match="--model_devices should divide the 4 devices"):
        count_devices(Devices("model_parallel", model_devices=3), 4)
    several = {"coordinator_address": "localhost:1", "num_processes": 2, "process_id": 0}
    assert count_devices(Devices("model_parallel", **several), 8) == (2, 4)
    assert count_devices(Devices("data_parallel", **several, virtual_devices=3)) == (6, 1)


@on_tensorflow
def test_replicas_share_the_batch_and_do_not_accumulate(tiny_job):
    mirrored = {"devices": Devices("mirrored")}
    one, four = plan(tiny_job()), plan(tiny_job(job=mirrored), devices=4)
    assert (four.images, four.devices) == (100, 4)
    assert four.memory.activations == one.memory.activations / 4
    assert four.memory.weights == one.memory.weights
    small = plan(tiny_job(job=mirrored), devices=4, device_memory_gb=0.001)
    assert "accumulation_steps" not in advice(small)
    with pytest.raises(InputError, match="accumulation_steps above 1 does not work"):
        plan(tiny_job({"accumulation_steps": 2}, mirrored), devices=4)
    with pytest.raises(InputError, match="--strategy data_parallel needs the JAX backend"):
        plan(tiny_job(job={"devices": Devices("data_parallel")}), devices=4)
    assert count_devices(Devices("mirrored", virtual_devices=2)) == (2, 1)
    with pytest.raises(InputError, match="needs --plan_devices"):
        count_devices(Devices("tpu"))
