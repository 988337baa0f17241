"""Measures the memory of JAX's training step besides its arguments, and the plan's estimate.

    step_memory.py CASES_AS_JSON

It prints both numbers of bytes for each case. It is a process of its own, because the CPU must be
split into devices before JAX has used it.
"""

import contextlib
import json
import sys

import jax
import numpy as np
from training_state import training_state
from two_views import TwoViews

from keras_deit import Supervised, create_model
from keras_deit.core.abstract import build_abstract
from keras_deit.core.keras_internals import build_from_first_batch
from keras_deit.distributed import split_axes
from keras_deit.distributed.jax_strategies import distribution
from keras_deit.models import abstract_model
from keras_deit.objectives import TrainingModel
from keras_deit.optimizers import Optimization, build_optimizer
from keras_deit.planning.activations import activation_bytes
from keras_deit.planning.memory import variable_bytes

IMAGES = 24
OBJECTIVES = {"supervised": Supervised, "two views": lambda: TwoViews(width=512)}


def compiled_step(model, scope):
    """Returns JAX's compiled training step."""
    model.compile(build_optimizer(model, Optimization(batch_size=IMAGES), 10))
    image_format = model.student.image_format
    views = () if model.objective.views == 1 else (model.objective.views,)
    batch = (
        np.zeros((IMAGES, *views, image_format.height, image_format.width, 3), "float32"),
        np.zeros((IMAGES, model.student.num_classes), "float32"),
    )
    next(build_from_first_batch(model, iter([batch])))
    model.optimizer.build(model.trainable_variables)
    state = training_state(model)
    if scope is not None:
        batch = [jax.device_put(x, scope.get_data_layout(x.shape).backend_layout) for x in batch]
    return jax.jit(model.train_step, donate_argnums=0).lower(state, tuple(batch)).compile()


def estimated_and_needed(name, values, devices, shards, objective):
    """Returns the estimate and what JAX needs on each device, in bytes."""
    values = {"image_size": 64, "embed_dim": 96, "num_classes": 10, **values}
    student = abstract_model(name, **values)
    model = build_abstract(lambda: TrainingModel(student, OBJECTIVES[objective]()))
    estimated = activation_bytes(model, IMAGES * shards // devices, "jax", shards)
    split = split_axes(student, shards) if shards > 1 else ()
    estimated += variable_bytes(model.trainable_variables, split, shards)  # the gradients
    scope = distribution(jax.devices(), shards) if devices > 1 else None
    if scope is not None:
        scope.split_like(student)
    with scope.scope() if scope else contextlib.nullcontext():
        model = TrainingModel(create_model(name, **values), OBJECTIVES[objective]())
        step = compiled_step(model, scope)
    return estimated, step.memory_analysis().temp_size_in_bytes


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    cases = json.loads(sys.argv[1])
    print(json.dumps({key: estimated_and_needed(*case) for key, case in cases.items()}))
