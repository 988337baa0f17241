"""The teacher in a Distiller is frozen, gets no gradient, and runs only if it is needed."""

import keras
import numpy as np
import pytest
from harness import numpy
from small_models import JIT, assert_logs, batch, expected_logs, small_student, small_teacher
from training_state import training_state

from keras_deit import Distiller, Teacher
from keras_deit.core.image_format import ImageFormat
from keras_deit.objectives import Batch
from keras_deit.teachers import TeacherContract

on_all_backends = pytest.mark.backends("tensorflow", "jax", "torch")


class CountedTeacher(keras.layers.Layer):
    """Records the mode of every call."""

    def __init__(self, model, **kwargs):
        super().__init__(**kwargs)
        self.model = model
        self.modes = []
        self.built = True

    def call(self, images, training=None):
        self.modes.append(training)
        return self.model(images, training=training)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.model.output_shape[-1])


@pytest.mark.parametrize(
    ("values", "in_training", "in_validation"),
    [
        ({"kind": "hard"}, 3, 0),
        ({"kind": "soft", "validate_agreement": True}, 3, 2),
        ({"kind": "none"}, 0, 0),
        ({"kind": "none", "validate_agreement": True}, 0, 2),
    ],
    ids=str,
)
def test_teacher_runs_once_in_a_step_that_needs_it(values, in_training, in_validation):
    teacher = CountedTeacher(small_teacher())
    distiller = Distiller(small_student(), teacher, **values)
    distiller.compile(optimizer="sgd", run_eagerly=True)
    x, y, _ = batch(count=12)
    distiller.fit(x, y, batch_size=4, verbose=0)
    assert teacher.modes == [False] * in_training
    distiller.fit(x, y, batch_size=4, validation_data=(x[:8], y[:8]), verbose=0)
    assert teacher.modes == [False] * (2 * in_training + in_validation)


@on_all_backends
def test_metrics_of_a_compiled_teacher_in_a_layer_do_not_overwrite_the_log(tmp_path):
    """Metrics of the same names, which the distillation never updates."""
    x, y, _ = batch(count=8)
    logs = []
    for is_compiled in (False, True):
        keras.utils.set_random_seed(0)
        model = small_teacher()
        if is_compiled:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile("sgd", loss, metrics=["accuracy"])
            model.evaluate(x, y, verbose=0)
        image_format = ImageFormat(*model.input_shape[1:3])
        contract = TeacherContract(image_format, "logits", model.output_shape[-1])
        distiller = Distiller(small_student(), Teacher(model, contract, image_format))
        distiller.compile(optimizer="sgd")
        history = distiller.fit(x, y, validation_data=(x, y), shuffle=False, verbose=0).history
        logs.append({**history, **distiller.evaluate(x, y, return_dict=True, verbose=0)})
    assert logs[0].keys() == logs[1].keys()
    for name, value in logs[0].items():
        np.testing.assert_allclose(logs[1][name], value, atol=1e-6, err_msg=name)
    distiller.save(tmp_path / "distiller.keras")
    loaded = keras.models.load_model(tmp_path / "distiller.keras")
    again = loaded.evaluate(x, y, return_dict=True, verbose=0)
    assert again["loss"] == pytest.approx(logs[1]["loss"], abs=1e-6)


@on_all_backends
def test_teacher_is_bit_identical_after_training():
    teacher = small_teacher()
    before = [numpy(weight) for weight in teacher.weights]
    distiller = Distiller(small_student(), teacher, kind="soft", validate_agreement=True)
    assert not any(weight.trainable for weight in teacher.weights)
    distiller.compile(optimizer=keras.optimizers.AdamW(0.1, weight_decay=0.1), jit_compile=JIT)
    x, y, _ = batch(count=12)
    distiller.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0)
    assert len(before) == 8
    for weight, values in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(weight), values, err_msg=weight.path)


@on_all_backends
def test_a_teacher_that_is_trainable_gets_no_gradient():
    teacher = small_teacher()
    distiller = Distiller(small_student(), teacher, kind="soft", alpha=1.0)
    teacher.trainable = True
    x, y, _ = batch()
    kernel = teacher.layers[-1].kernel

    objective, logits = distiller.objective, numpy(distiller.student(x))

    def with_targets():
        targets = objective.targets(Batch(x, y))
        return objective.distillation_loss(targets["teacher"], logits)

    def with_the_teacher_itself():
        return objective.distillation_loss(teacher(x), logits)

    gradient = gradient_of(with_targets, kernel)
    assert gradient is None or not numpy(gradient).any()
    assert np.abs(numpy(gradient_of(with_the_teacher_itself, kernel))).max() > 1e-3


def gradient_of(function, variable):
    """Returns d function() / d variable; None if the backend says that there is none."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(variable.value)
            value = function()
        return tape.gradient(value, variable.value)
    if backend == "jax":
        import jax

        def stateless(value):
            with keras.StatelessScope(state_mapping=[(variable, value)]):
                return function()

        return jax.grad(stateless)(variable.value)
    value = function()
    if not value.requires_grad:
        return None
    value.backward()
    return variable.value.grad


@on_all_backends
def test_a_compiled_step_uses_the_present_weights_of_the_teacher():
    """On JAX, weights that are not arguments of the compiled function are constants in it."""
    teacher = small_teacher()
    distiller = Distiller(small_student(), teacher, kind="soft", validate_agreement=True)
    distiller.compile(optimizer=keras.optimizers.SGD(0.0))
    x, y, _ = batch()
    losses = []
    for sign in (1, -1):
        for weight in teacher.layers[-1].weights:
            weight.assign(sign * numpy(weight))
        expected = expected_logs(distiller, x, y)
        assert_logs(distiller.train_on_batch(x, y, return_dict=True), expected)
        assert_logs(distiller.evaluate(x, y, verbose=0, return_dict=True), expected)
        losses.append(expected["distillation_loss"])
        distiller.reset_metrics()
    assert abs(losses[0] - losses[1]) > 0.1


@pytest.mark.backends("jax")
def test_the_weights_of_the_teacher_are_no_constants_of_the_program():
    import jax

    teacher = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    kernel_size = 8 * 8 * 3 * 3
    distiller = Distiller(small_student(), teacher, kind="soft")
    distiller.compile(optimizer="sgd")
    x, y, _ = batch()
    distiller.train_on_batch(x, y)
    state = training_state(distiller)
    program = jax.make_jaxpr(distiller.train_step)(state, (x, y, None))
    assert largest_constant(program) < kernel_size
    assert largest_constant(jax.make_jaxpr(teacher)(x)) == kernel_size


def largest_constant(program) -> int:
    return max((np.size(constant) for constant in program.consts), default=0)
