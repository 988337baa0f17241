"""What JAX's compiled training step of some students needs beside its arguments, and the plan's
count of it, in bytes.

    step_memory.py CASES_AS_JSON

A process of its own: the CPU must be split before JAX has used it.
"""

import contextlib
import json
import sys

import jax
import keras
import numpy as np

from keras_deit import Distiller, create_model
from keras_deit.distributed.jax_strategies import distribution
from keras_deit.models import abstract_model
from keras_deit.optimizers import Optimization, build_optimizer
from keras_deit.planning.activations import activation_bytes
from keras_deit.planning.memory import held_bytes

IMAGES = 24


def compiled_step(name, values, images, scope):
    """JAX's compiled step of a student that is trained without a teacher."""
    student = create_model(name, **values)
    distiller = Distiller(student, kind="none")
    distiller.compile(build_optimizer(student, Optimization(batch_size=images), 10))
    image_format = student.image_format
    batch = (
        np.zeros((images, image_format.height, image_format.width, 3), "float32"),
        np.zeros((images, student.num_classes), "float32"),
    )
    distiller._symbolic_build(data_batch=batch)
    distiller.optimizer.build(distiller.trainable_variables)
    kinds = ("trainable", "non_trainable", "optimizer", "metrics")
    state = distiller._get_jax_state(**{f"{kind}_variables": True for kind in kinds})
    if scope is not None:
        batch = [jax.device_put(x, scope.get_data_layout(x.shape).backend_layout) for x in batch]
    return jax.jit(distiller.train_step, donate_argnums=0).lower(state, tuple(batch)).compile()


def both(name, values, devices, sharing):
    """What is counted and what JAX needs, on each device."""
    values = {"image_size": 64, "embed_dim": 96, "num_classes": 10, **values}
    outline = abstract_model(name, **values)
    own_images = IMAGES * sharing // devices
    counted = activation_bytes(outline, own_images, keras.backend.backend(), sharing)
    counted += held_bytes(outline.trainable_variables, sharing)
    scope = distribution(jax.devices(), sharing) if devices > 1 else None
    with scope.scope() if scope else contextlib.nullcontext():
        step = compiled_step(name, values, IMAGES, scope)
    return counted, step.memory_analysis().temp_size_in_bytes


jax.config.update("jax_num_cpu_devices", 2)
print(json.dumps({key: both(*case) for key, case in json.loads(sys.argv[1]).items()}))
