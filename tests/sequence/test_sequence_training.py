"""Loss, metrics, schedules and a training of sequences."""

import dataclasses

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit.sequence import (
    END,
    SEQUENCE_RECIPES,
    InverseSquareRoot,
    SequenceToSequence,
    TokenAccuracy,
    TokenCrossentropy,
    decode,
    padded,
    teacher_forcing,
)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_the_tokens(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 7)).astype("float32")
    labels = np.array([[3, 2, 0, 0], [1, 6, 5, 2]])
    expected = []
    for row, column in zip(*np.nonzero(labels), strict=True):
        log_p = logits[row, column] - np.log(np.exp(logits[row, column]).sum())
        target = np.full(7, smoothing / 6)
        target[labels[row, column]] = 1 - smoothing
        expected.append(-(target * log_p).sum())
    found = TokenCrossentropy(smoothing)(labels, logits)
    np.testing.assert_allclose(float(found), np.mean(expected), rtol=1e-5)


def test_weights_replace_the_mean_over_the_tokens():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 7)).astype("float32")
    labels = np.array([[3, 2, 0, 0], [1, 6, 5, 2]])
    loss, weights = TokenCrossentropy(0.1), (labels > 0) * np.float32(8 / 6)
    found = float(loss(labels, logits, weights))
    assert found == pytest.approx(float(loss(labels, logits)), rel=1e-5)
    # Each device has a row, and the mean over the devices is that over all tokens.
    parts = [float(loss(labels[[n]], logits[[n]], weights[[n]])) for n in (0, 1)]
    assert np.mean(parts) == pytest.approx(found, rel=1e-5)


def test_accuracy_leaves_padding_out():
    accuracy = TokenAccuracy()
    labels = np.array([[1, 2, 0], [2, 0, 0]])
    logits = np.eye(3, dtype="float32")[[[1, 1, 0], [2, 0, 0]]]
    accuracy.update_state(labels, logits)
    assert float(accuracy.result()) == pytest.approx(2 / 3)


def test_schedules_are_the_published_ones():
    adam = SEQUENCE_RECIPES["transformer"].build_optimizer()
    for step in (0, 3999, 4000, 99_999):
        expected = 512**-0.5 * min((step + 1) ** -0.5, (step + 1) * 4000**-1.5)
        assert float(adam._learning_rate(step)) == pytest.approx(expected, rel=1e-5)
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.9, 0.98, 1e-9)
    adagrad = SEQUENCE_RECIPES["resmlp_en_de"].build_optimizer()
    rates = [float(adagrad._learning_rate(step)) for step in (0, 15_999, 31_999, 100_000)]
    assert rates == pytest.approx([0.2 / 32_000, 0.1, 0.2, 0.2], rel=1e-5)


def test_adagrad_is_that_of_pytorch():
    import torch

    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=3), 1e-4 * rng.normal(size=(4, 3))
    theirs = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    optimizer = torch.optim.Adagrad([theirs], lr=0.2)
    ours = keras.Variable(start)
    recipe = dataclasses.replace(SEQUENCE_RECIPES["resmlp_en_de"], warmup_steps=1)
    adagrad = recipe.build_optimizer()
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
        adagrad.apply([gradient.astype("float32")], [ours])
    np.testing.assert_allclose(numpy(ours), theirs.detach().numpy(), atol=1e-5)


def test_inputs_and_labels_are_one_position_apart():
    inputs, labels = teacher_forcing([[5, 6], [7]], [[8], [9, 10, 11]])
    np.testing.assert_array_equal(inputs["source"], [[5, 6, 2], [7, 2, 0]])
    np.testing.assert_array_equal(inputs["target"], [[1, 8, 0, 0], [1, 9, 10, 11]])
    np.testing.assert_array_equal(labels, [[8, 2, 0, 0], [9, 10, 11, 2]])


@pytest.mark.slow
@pytest.mark.backends("torch")
@pytest.mark.parametrize(("mixer", "rate"), [("attention", 2e-3), ("linear", 3e-3)])
def test_short_sequences_are_reversed(mixer, rate):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    sequences = [rng.integers(3, 11, rng.integers(2, 6)).tolist() for _ in range(64 * 600)]
    inputs, labels = teacher_forcing(sequences, [sequence[::-1] for sequence in sequences])
    model = SequenceToSequence(
        *(11, mixer),
        **{"width": 32, "depth": 1, "num_heads": 2, "hidden_dim": 64, "max_length": 8},
        dropout_rate=0.0,
    )
    optimizer = keras.optimizers.Adam(InverseSquareRoot(rate, 100))
    model.compile(optimizer, TokenCrossentropy(0.0), metrics=[TokenAccuracy()])
    model.fit(inputs, labels, batch_size=64, verbose=0)
    held = [rng.integers(3, 11, rng.integers(2, 6)).tolist() for _ in range(100)]
    found = decode(model, padded([[*sequence, END] for sequence in held]), beams=2)
    right = [sequence[::-1] == one for sequence, one in zip(held, found, strict=True)]
    assert np.mean(right) > 0.9
