"""A plan for several devices: what each of them has, and what cannot be divided."""

import pytest

from keras_deit import InputError
from keras_deit.distributed import Devices
from keras_deit.planning import PlanOverrides, advice, make_plan
from keras_deit.planning.device import count_devices

on_jax = pytest.mark.backends("jax")


def plan(job, **overrides):
    return make_plan(job, PlanOverrides(**{"device_memory_gb": 8.0, **overrides}))


@on_jax
def test_devices_and_accumulation_divide_the_batch(tiny_job):
    data_parallel = {"devices": Devices("data_parallel")}
    one = plan(tiny_job())
    halved = plan(tiny_job({"accumulation_steps": 2}))
    four = plan(tiny_job({"accumulation_steps": 2}, data_parallel), devices=4)
    assert (one.images, halved.images, four.images) == (400, 200, 50)
    assert (one.devices, four.devices, four.shards) == (1, 4, 1)
    for name in ("activations", "batches", "teacher_activations"):
        whole, half, eighth = (getattr(p.memory, name) for p in (one, halved, four))
        assert (half, eighth) == (whole / 2, whole / 8), name
    assert four.memory.weights == one.memory.weights
    assert halved.memory.optimizer - one.memory.optimizer == one.memory.gradients
    assert four.steps == one.steps


@on_jax
def test_devices_that_share_a_model_split_its_weights(tiny_job):
    def job(strategy):
        devices = {"devices": Devices(strategy)}
        return tiny_job({"ema_decay": 0.9}, devices, model_values={"num_heads": 2})

    copied, split = (plan(job(s), devices=2) for s in ("data_parallel", "model_parallel"))
    assert (split.replicas, split.shards, split.images, copied.images) == (1, 2, 400, 200)
    # The one block of width 24 has four kernels in pairs, and the first of each pair has a bias.
    halved = 4 * (12 * 24**2 + 7 * 24) // 2
    assert copied.memory.weights - split.memory.weights == halved
    assert copied.memory.gradients - split.memory.gradients == halved
    assert copied.memory.ema - split.memory.ema == halved
    assert copied.memory.optimizer - split.memory.optimizer == 2 * halved
    assert split.memory.teacher == copied.memory.teacher
    assert split.checkpoint == copied.checkpoint


@on_jax
def test_batches_and_models_that_cannot_be_divided_are_refused(tiny_job):
    with pytest.raises(InputError, match=r"400 .* 3 devices"):
        plan(tiny_job(job={"devices": Devices("data_parallel")}), devices=3)
    with pytest.raises(InputError, match=r"--model_devices .* 4 devices"):
        count_devices(Devices("model_parallel", model_devices=3), 4)
    several = {"coordinator_address": "localhost:1", "num_processes": 2, "process_id": 0}
    assert count_devices(Devices("model_parallel", **several), 8) == (2, 4)
    assert count_devices(Devices("data_parallel", **several, virtual_devices=3)) == (6, 1)


def test_replicas_divide_the_batch_and_do_not_accumulate(tiny_job):
    mirrored = {"devices": Devices("mirrored")}
    one, four = plan(tiny_job()), plan(tiny_job(job=mirrored), devices=4)
    assert (four.images, four.devices) == (100, 4)
    assert four.memory.activations == one.memory.activations / 4
    assert four.memory.weights == one.memory.weights
    small = plan(tiny_job(job=mirrored), devices=4, device_memory_gb=0.001)
    assert "accumulation_steps" not in advice(small)
    with pytest.raises(InputError, match="accumulation_steps"):
        plan(tiny_job({"accumulation_steps": 2}, mirrored), devices=4)
    with pytest.raises(InputError, match=r"--strategy data_parallel .*JAX"):
        plan(tiny_job(job={"devices": Devices("data_parallel")}), devices=4)
    assert count_devices(Devices("mirrored", virtual_devices=2)) == (2, 1)
    with pytest.raises(InputError, match="--plan_devices"):
        count_devices(Devices("tpu"))
