"""Impossible labels and teachers are one error, wherever the step sees them first."""

import keras
import numpy as np
import pytest
from small_models import CLASSES, JIT, batch, small_student, small_teacher

from keras_deit import Distiller, InputError, Supervised
from keras_deit.core.compilation import check_takes_logits
from keras_deit.core.labels import check_labels
from keras_deit.objectives import TrainingModel
from keras_deit.objectives.faults import possible_labels

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")

EXPECTED = f"integers from 0 to {CLASSES - 1}"
SOFT = np.full((6, CLASSES), 1 / CLASSES, "float32")


def soft(row):
    return np.concatenate([SOFT[:5], np.array([row], "float32")])


IMPOSSIBLE = {
    "below": np.array([0, 1, 2, 0, 1, -1]),
    "above": np.array([0, 1, 2, 0, 1, CLASSES]),
    "not a number": np.array([0, 1, 2, 0, 1, np.nan], "float32"),
    "fractional": np.array([0, 1, 2, 0, 1, 1.5], "float32"),
    "too little": soft([0.5, 0.2, 0.1]),
    "negative": soft([1.5, -0.5, 0.0]),
    "soft nan": soft([np.nan, 0.5, 0.5]),
}


@pytest.fixture(scope="module")
def models():
    """A supervised training with weights of the classes, and a distillation."""
    supervised = TrainingModel(small_student(), Supervised(), class_weights=(1.0, 2.0, 3.0))
    distiller = Distiller(small_student(), small_teacher())
    for model in (supervised, distiller):
        model.compile(keras.optimizers.SGD(0.1), jit_compile=JIT)
    return supervised, distiller


def batches(x, y, count=2):
    for _ in range(count):
        yield x, y


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_impossible_labels_in_arrays_are_named_before_the_first_step(models, kind):
    x, y = batch()[0], IMPOSSIBLE[kind]
    for model in models:
        before = keras.ops.convert_to_numpy(model.student.weights[0])
        calls = (
            lambda m=model: m.fit(x, y, verbose=0),
            lambda m=model: m.fit(x, SOFT, validation_data=(x, y), verbose=0),
            lambda m=model: m.evaluate(x, y, verbose=0),
            lambda m=model: m.train_on_batch(x, y),
            lambda m=model: m.test_on_batch(x, keras.ops.convert_to_tensor(y)),
        )
        for call in calls:
            with pytest.raises(InputError, match=f"{EXPECTED}.* at position 5"):
                call()
        after = keras.ops.convert_to_numpy(model.student.weights[0])
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("kind", ["below", "too little"])
def test_impossible_labels_of_a_generator_are_named_and_nothing_is_learned(models, kind):
    x, y = batch()[0], IMPOSSIBLE[kind]
    if y.ndim == 2:  # TensorFlow would make one step for labels of any rank.
        models = (Distiller(small_student(), small_teacher()),)
        models[0].compile("sgd", jit_compile=JIT)
    for model in models:
        before = [keras.ops.convert_to_numpy(w) for w in model.student.trainable_weights]
        with pytest.raises(InputError, match=EXPECTED):
            model.fit(batches(x, y), verbose=0)
        for weight, value in zip(model.student.trainable_weights, before, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)
        with pytest.raises(InputError, match=EXPECTED):
            model.evaluate(batches(x, y), verbose=0)


@pytest.mark.backends("tensorflow")
def test_labels_of_a_dataset_are_named_in_a_compiled_step_too():
    import tensorflow as tf

    x, y = batch()[0], IMPOSSIBLE["above"]
    data = tf.data.Dataset.from_tensor_slices((x, y, np.ones(6, "float32"))).batch(6)
    for jit in (True, False):
        model = Distiller(small_student(), small_teacher())
        model.compile("sgd", jit_compile=jit)
        with pytest.raises(InputError, match=EXPECTED):
            model.fit(data, verbose=0)


def test_possible_labels_stay_what_they_are():
    for labels in (np.array([0, 2], "uint8"), np.array([[1.0], [2.0]], "float32"), SOFT[:2]):
        check_labels(labels, CLASSES)
        found, possible = possible_labels(keras.ops.convert_to_tensor(labels), CLASSES)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(found), labels)
        assert keras.ops.convert_to_numpy(possible).tolist() == [True, True]
    # Rows of rounded numbers sum to 1 less precisely.
    rounded = np.random.default_rng(0).dirichlet(np.ones(9), 500).astype("float32")
    check_labels(keras.ops.convert_to_numpy(keras.ops.cast(rounded, "bfloat16")), 9)
    # 255 as a number of classes does not fit into int8.
    _, possible = possible_labels(keras.ops.convert_to_tensor(np.array([5], "int8")), 255)
    assert keras.ops.convert_to_numpy(possible).all()


def faulty_teacher(layer):
    teacher = small_teacher()
    return keras.Model(teacher.input, layer(teacher.output))


@pytest.mark.parametrize(("kind", "value"), [("hard", np.nan), ("soft", np.inf)])
def test_a_teacher_that_is_not_finite_is_named_at_the_first_batch(kind, value):
    x, y, _ = batch()
    model = Distiller(small_student(), faulty_teacher(keras.layers.Rescaling(value)), kind)
    model.compile("sgd", jit_compile=JIT)
    for call in (lambda: model.fit(x, y, verbose=0), lambda: model.train_on_batch(x, y)):
        with pytest.raises(InputError, match="The teacher returns logits that are not finite"):
            call()


def test_a_softmax_teacher_is_refused_where_its_logits_are_softened():
    x, y, _ = batch()
    teacher = faulty_teacher(keras.layers.Softmax())
    model = Distiller(small_student(), teacher, "soft")
    model.compile("sgd", jit_compile=JIT)
    with pytest.raises(InputError, match="The teacher returns probabilities"):
        model.fit(x, y, verbose=0)
    model = Distiller(small_student(), teacher, "hard")
    model.compile("sgd", jit_compile=JIT)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "kl_divergence",
        keras.losses.CategoricalCrossentropy(),
        keras.losses.binary_crossentropy,
    ],
)
@pytest.mark.backends("tensorflow")
def test_a_loss_that_takes_logits_for_probabilities_is_refused(loss):
    student = small_student()
    for model in (student, Distiller(small_student(), small_teacher())):
        with pytest.raises(InputError, match="returns logits"):
            model.compile("sgd", loss)
    with pytest.raises(InputError, match=r"metrics .*from_logits=True"):
        student.compile("sgd", metrics=["accuracy", "sparse_categorical_crossentropy"])


METRICS_OF_PROBABILITIES = {
    "from_logits=True": [keras.metrics.AUC, "auc", keras.metrics.BinaryCrossentropy()],
    "threshold=0": ["binary_accuracy", keras.metrics.BinaryAccuracy()],
    "thresholds=0": [keras.metrics.Precision(), keras.metrics.Recall(thresholds=[0.5])],
    "": [keras.metrics.PrecisionAtRecall(0.5), "poisson"],
}


@pytest.mark.backends("tensorflow")
def test_metrics_that_take_logits_for_probabilities_are_refused():
    for instead, metrics in METRICS_OF_PROBABILITIES.items():
        expected = rf"give keras\.metrics\.\w+\({instead}\)" if instead else "takes probabilities"
        for metric in metrics:
            with pytest.raises(InputError, match=expected):
                check_takes_logits("m", metrics=["accuracy", metric])
    right = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = ["accuracy", "mae", keras.metrics.AUC(from_logits=True), keras.metrics.F1Score()]
    metrics += [keras.metrics.Precision(thresholds=0), keras.metrics.Recall(top_k=1)]
    check_takes_logits("m", loss=[right, "mse", None], metrics={"a": metrics})


@pytest.mark.backends("tensorflow")
def test_an_older_file_that_was_compiled_so_still_opens():
    for model in (small_student(), Distiller(small_student(), small_teacher())):
        with pytest.warns(UserWarning, match=r"from_logits=True.*was compiled so"):
            model.compile_from_config(
                {"optimizer": "sgd", "metrics": ["sparse_categorical_crossentropy"]}
            )
        assert model.compiled
