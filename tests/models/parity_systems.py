"""The cases that were made with the authors' code of the further systems, and the comparison.

The cases are those of the folder in the environment variable PARITY_SYSTEMS, by default those of
`parity_systems_data`, whose README says what is in them. A test takes the cases of a class of the
authors (`cases`), builds our model from its arguments (`ParityCase.constructor`), loads the tensors
as a user would (`load`) and compares everything that the case has (`check_model`,
`check_module`).
"""

import dataclasses
import functools
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping

import keras
import numpy as np
import pytest
from harness import numpy, run
from keras import ops
from safetensors.numpy import load_file, save_file

from keras_deit.models import Classifier
from keras_deit.models.weight_names import Table, model_entries
from keras_deit.pretrained import load_pretrained

FOLDER = pathlib.Path(
    os.environ.get("PARITY_SYSTEMS") or pathlib.Path(__file__).parent / "parity_systems_data"
)
_SPECS = json.loads((FOLDER / "specs.json").read_text())
# Parameters of the published configurations, by the names of the facts.
PUBLISHED = _SPECS["published"]

_OUTPUT_TOLERANCE = 1e-5
_GRADIENT_TOLERANCE = 3e-4
_PART = re.compile(r"_first_token$|_pixel_(\d+)_(\d+)$")


@dataclasses.dataclass(frozen=True, eq=False)
class ParityCase:
    """A small model or module of the authors with random weights, or a full model by a rule.

    Attributes:
        name: of its files.
        spec: its entry of specs.json.
    """

    name: str
    spec: dict

    def __str__(self):
        return self.name

    @property
    def arguments(self) -> dict:
        """What the authors' constructor was given."""
        return self.spec["original"]["args"]

    @property
    def is_full(self) -> bool:
        """Whether it is of a published size, with weights made by a rule."""
        return self.spec["weights"] == "rule"

    def file(self, ending: str) -> pathlib.Path:
        return FOLDER / f"{self.name}.{ending}"

    def constructor(self, known: Mapping[str, str | Callable]) -> dict:
        """Returns our constructor arguments.

        Args:
            known: by an argument of the authors, ours, or a function from the value to ours by
                name. An argument that is missing here fails the test.
        """
        ours = {}
        for name, value in self.arguments.items():
            if name not in known:
                pytest.fail(f"{self.name} sets {name}={value!r}, which the test does not know.")
            given = known[name]
            ours |= given(value) if callable(given) else {given: value}
        return ours

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The inputs and outputs by name."""
        arrays = dict(np.load(self.file("npz")))
        if self.is_full:
            arrays["images"] = self._by_rule[1]
        return arrays

    @functools.cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        """The weights, as the authors name and lay them out."""
        return self._by_rule[0] if self.is_full else load_file(self.file("safetensors"))

    @functools.cached_property
    def _by_rule(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rule = json.loads(self.file("rule.json").read_text())
        tensors = {
            name: _by_rule(rule["seed"], index, **rule["tensors"][name])
            for index, name in enumerate(sorted(rule["tensors"]))
        }
        images = _by_rule(rule["seed"], 1_000_000, **rule["images"])
        stored = np.load(self.file("npz"))
        sums = [tensor.sum(dtype="float64") for tensor in tensors.values()]
        np.testing.assert_allclose(sums, stored["tensor_sums"], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(images.sum(dtype="float64"), stored["images_sum"], rtol=1e-9)
        return tensors, images

    def expected(self) -> dict[str, np.ndarray]:
        """Returns the outputs in evaluation mode by name, without the loss and its gradients."""
        others = re.compile(r"loss|train_logits|grad/.*|after/.*")
        names = (name for name in self.spec["outputs"] if not others.fullmatch(name))
        return {name: self.arrays[name] for name in names}

    @property
    def is_trained(self) -> bool:
        """Whether its loss and gradients are those of a pass in training mode."""
        return "train_logits" in self.arrays

    def gradients(self) -> dict[str, np.ndarray]:
        """Returns the gradients by the name of the tensor."""
        names = (name for name in self.spec["outputs"] if name.startswith("grad/"))
        return {name.removeprefix("grad/"): self.arrays[name] for name in names}

    def tolerance(self, name: str) -> float:
        """Returns how far an output may be from the authors'."""
        largest = np.abs(self.arrays[name]).max()
        noises = self.spec.get("float32_noise", {})
        # Of a full model the noise of the logits alone is known, and it is not the largest: that of
        # the patches of `full_r26_s_32` is 7e-5, computed in float64.
        noise = noises.get(name, max(noises.values(), default=0) if self.is_full else 0)
        return max(_OUTPUT_TOLERANCE * max(1, largest), 10 * noise)


def _by_rule(seed: int, index: int, shape: list[int], scale: float, offset: float = 0.0):
    drawn = np.random.default_rng([seed, index]).random(tuple(shape)) * 2.0 - 1.0
    return (offset + scale * drawn).astype("float32")


CASES = {name: ParityCase(name, spec) for name, spec in _SPECS["cases"].items()}


def cases(original: str, full: bool | None = None) -> list[ParityCase]:
    """Returns the cases of a class of the authors, such as "models.vit.ViT".

    Args:
        original: its name, or the beginning of it.
        full: whether those of published sizes or the small ones; None for both.
    """
    return [
        case
        for case in CASES.values()
        if case.spec["original"]["class"].startswith(original) and full in (None, case.is_full)
    ]


def load(case: ParityCase, model: Classifier, folder: pathlib.Path) -> None:
    """Loads a case's tensors, from a file in the authors' layout.

    Args:
        case: the case.
        model: ours, or `module`'s.
        folder: for the file.
    """
    path = folder / f"{case.name}.safetensors"
    save_file(case.tensors, path)
    load_pretrained(model, path)


def check_counts(case: ParityCase, model: keras.Model) -> None:
    """Checks the numbers of parameters, of all and of those that are trained."""
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert (model.count_params(), trainable) == (case.spec["params"], case.spec["trainable"])


def check_model(
    case: ParityCase, model: Classifier, results: Mapping[str, keras.KerasTensor]
) -> dict[str, float]:
    """Compares a model that has the case's weights with the authors'.

    Args:
        case: the case.
        model: ours.
        results: the symbolic intermediate results by the README's names, of all that such a case
            can have. A result that the case has and that is not here fails the test.

    Returns:
        The largest difference of each result and gradient, as a part of what is allowed.
    """
    images = case.arrays["images"]
    differences = _check_results(case, {**results, "logits": model.output}, model, images)
    if "labels" in case.arrays:
        rows = ops.one_hot(case.arrays["labels"], model.num_classes)
        differences |= _check_gradients(
            case, model, images, lambda logits: -ops.mean(_log_likelihoods(logits, rows))
        )
    if case.is_trained:
        differences |= _check_statistics(case, model)
    return differences


def _check_statistics(case, model) -> dict[str, float]:
    """Compares the running statistics after one pass in training mode.

    PyTorch adds the variance of the batch with n − 1 in the divisor, Keras with n.
    """
    differences = {}
    found = _by_tensor(case, model, {weight.path: numpy(weight) for weight in model.weights})
    for name in filter(re.compile("after/").match, case.spec["outputs"]):
        tensor, expected = name.removeprefix("after/"), case.arrays[name]
        if name.endswith("running_var"):
            kept = 0.9 * case.tensors[tensor]
            count = len(case.arrays["images"]) * _number_of_tokens(model, tensor)
            expected = kept + (expected - kept) * (count - 1) / count
        difference = np.abs(found[tensor] - expected).max()
        _note(case, name, difference, case.tolerance(name), differences)
    return differences


def _number_of_tokens(model, tensor: str) -> int:
    """Returns over how many tokens of an image a norm has its statistics."""
    tables = [model_entries(model, table) for table in model.weight_names().values()]
    paths = {name: entry.path for table in tables for entry in table for name in entry.names}
    return int(np.prod(model.get_layer(paths[tensor].split("/")[0]).input.shape[1:-1]))


def _log_likelihoods(logits, rows):
    return ops.sum(ops.log_softmax(logits) * rows, axis=-1)


def check_module(
    case: ParityCase,
    model: Classifier,
    inputs: np.ndarray,
    results: Mapping[str, keras.KerasTensor] | None = None,
    outputs: Callable = lambda found: found,
) -> dict[str, float]:
    """Compares a layer that has the case's weights with the authors' module.

    Args:
        case: the case.
        model: result of `module`.
        inputs: inputs of the layer.
        results: the symbolic intermediate results, as for `check_model`.
        outputs: function from the layer's output to that of the authors' module, which may be a
            part of it.

    Returns:
        The largest difference of each result and gradient, as a part of what is allowed.
    """
    results = {**(results or {}), "outputs": outputs(model.output)}
    differences = _check_results(case, results, model, inputs)
    cotangent = ops.convert_to_tensor(case.arrays["cotangent"])
    loss = functools.partial(_weighted_sum, outputs, cotangent)
    return differences | _check_gradients(case, model, inputs, loss)


def _weighted_sum(outputs, cotangent, found):
    return ops.sum(outputs(found) * cotangent)


def module(layer: keras.layers.Layer, shape: tuple[int, ...], table: Table) -> Classifier:
    """Returns a model of one layer, into which a file of its tensors can be loaded.

    Args:
        layer: the layer.
        shape: shape of its input, without the batch.
        table: the names of its tensors in the file, see `keras_deit.models.weight_names`.
    """

    class Module(Classifier):
        weight_tables = {"authors": table}
        num_classes = 0
        head_layers = {}
        # Keras reads every property of a model; its input may be no image.
        image_format = None

        def __init__(self):
            inputs = keras.Input(shape)
            super().__init__(inputs, {"class": layer(inputs)})

    return Module()


def _check_results(case, results, model, inputs) -> dict[str, float]:
    expected = case.expected()
    wanted = {name: _PART.sub("", name) for name in expected}
    for name, whole in wanted.items():
        if whole not in results:
            pytest.fail(f"{case.name} has {name}, which the test does not compare.")
    network = keras.Model(model.input, {whole: results[whole] for whole in wanted.values()})
    found = {name: numpy(value) for name, value in run(network, inputs).items()}
    differences = {}
    for name, whole in wanted.items():
        part = _like(found[whole], name, expected[name], case.is_full)
        assert part.shape == expected[name].shape, f"{case.name}: {name} is {part.shape}"
        difference = np.abs(part - expected[name]).max()
        _note(case, name, difference, case.tolerance(name), differences)
    return differences


def _like(found: np.ndarray, name: str, expected: np.ndarray, is_full: bool) -> np.ndarray:
    """Returns the part of a result that a case stores."""
    part = _PART.search(name)
    if part:
        row, column = part.groups()
        found = found[:, 0] if row is None else found[:, int(row), int(column)]
    if is_full and found.ndim == expected.ndim + 1:
        found = found[:, 0]
    corner = expected.shape if is_full else expected.shape[:1]
    return found[tuple(slice(side) for side in corner)]


def _check_gradients(case, model, inputs, loss) -> dict[str, float]:
    expected = case.gradients()
    outputs, value, gradients = loss_and_gradients(model, inputs, loss, case.is_trained)
    differences = {}
    for name, own in (("loss", value), ("train_logits", outputs)):
        if name in case.arrays:
            difference = np.abs(own - case.arrays[name]).max()
            _note(case, name, difference, case.tolerance(name), differences)
    found = _by_tensor(case, model, gradients)
    for name, gradient in expected.items():
        if name not in found:
            pytest.fail(f"{case.name} has a gradient of {name}, which the model has not.")
        difference = np.abs(found[name].reshape(gradient.shape) - gradient).max()
        allowed = _GRADIENT_TOLERANCE * np.abs(gradient).max()
        _note(case, f"grad/{name}", difference, allowed, differences)
    return differences


def _note(case, name, difference, allowed, differences) -> None:
    assert difference <= allowed, f"{case.name}: {name} differs by {difference:.2g} > {allowed:.2g}"
    differences[name] = float(difference / allowed)


def _by_tensor(case, model, gradients: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns gradients by the name and in the layout of the authors' tensors."""
    tables = [model_entries(model, table) for table in model.weight_names().values()]
    entries = max(tables, key=lambda table: sum(_is_held(case, entry) for entry in table))
    found = {}
    for entry in entries:
        if entry.path in gradients:
            parts = entry.split(gradients[entry.path])
            found |= dict(zip(entry.names, parts, strict=True))
    return found


def _is_held(case, entry) -> bool:
    return all(name in case.tensors for name in entry.names)


def loss_and_gradients(
    model: keras.Model, inputs: np.ndarray, loss: Callable, training: bool = False
) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
    """Returns the model's output, the loss, and its gradients by the path of the variable.

    Args:
        model: built.
        inputs: inputs of the model.
        loss: function from the model's output to a scalar.
        training: whether the pass is in training mode, which updates running statistics.
    """
    variables = model.trainable_variables
    backend = keras.backend.backend()
    if backend == "tensorflow":
        outputs, value, gradients = _tensorflow_gradients(model, inputs, loss, training)
    elif backend == "jax":
        outputs, value, gradients = _jax_gradients(model, inputs, loss, training)
    else:
        model.zero_grad()
        outputs = model(inputs, training=training)
        value = loss(outputs)
        value.backward()
        outputs, value = outputs.detach(), value.detach()
        gradients = [variable.value.grad for variable in variables]
    pairs = zip(variables, gradients, strict=True)
    found = {v.path: numpy(g) for v, g in pairs if g is not None}
    return numpy(outputs), float(numpy(value)), found


def _tensorflow_gradients(model, inputs, loss, training):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        outputs = model(inputs, training=training)
        value = loss(outputs)
    variables = [variable.value for variable in model.trainable_variables]
    return outputs, value, tape.gradient(value, variables)


def _jax_gradients(model, inputs, loss, training):
    import jax

    fixed = [variable.value for variable in model.non_trainable_variables]

    def of_values(values):
        outputs, updated = model.stateless_call(values, fixed, inputs, training=training)
        return loss(outputs), (outputs, updated)

    values = [variable.value for variable in model.trainable_variables]
    both = jax.jit(jax.value_and_grad(of_values, has_aux=True))
    (value, (outputs, updated)), gradients = both(values)
    for variable, new in zip(model.non_trainable_variables, updated, strict=True):
        variable.assign(new)
    return outputs, value, gradients
