"""Encoders and decoders: causality, padding, decoding, files."""

import itertools

import keras
import numpy as np
import pytest
from harness import numpy

from keras_deit import InputError
from keras_deit.core.precision import precision
from keras_deit.sequence import END, START, SequenceToSequence, decode, decoding, padded

pytestmark = pytest.mark.backends("tensorflow", "jax", "torch")
SIZES = {"width": 16, "depth": 2, "num_heads": 2, "hidden_dim": 32, "max_length": 12}


def build(mixer, vocabulary=20, **sizes):
    """Returns a model whose affine layers and norms are not as at their start."""
    model = SequenceToSequence(vocabulary, mixer, **{**SIZES, "dropout_rate": 0.0, **sizes})
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module", params=["attention", "linear"])
def model(request):
    keras.utils.set_random_seed(0)
    return build(request.param)


def tokens(*shape):
    return np.random.default_rng(1).integers(3, 20, shape).astype("int32")


def logits(model, source, target):
    return numpy(model({"source": source, "target": target}))


def test_a_later_token_changes_no_earlier_output(model):
    source, target = tokens(3, 7), tokens(3, 6)
    changed = target.copy()
    changed[:, 4] = target[:, 4] % 16 + 3
    before, after = (logits(model, source, ids) for ids in (target, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).max() > 0.1


def test_padding_changes_nothing(model):
    source, target = tokens(3, 7), tokens(3, 6)
    more = [np.pad(ids, ((0, 0), (0, count))) for ids, count in ((source, 3), (target, 2))]
    found = logits(model, *more)[:, :6]
    np.testing.assert_allclose(found, logits(model, source, target), rtol=0, atol=1e-5)


def test_mixed_precision_is_close_to_float32(model):
    with precision("mixed_bfloat16"):
        mixed = build(model.get_config()["mixer"])
    mixed.set_weights(model.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    source, target = tokens(3, 7), tokens(3, 6)
    expected, found = (logits(each, source, target) for each in (model, mixed))
    difference = np.abs(found.astype("float32") - expected).max()
    assert 0 < difference < 0.05 * np.abs(expected).max()


@pytest.mark.nightly("jax")
def test_what_is_remembered_is_what_would_be_computed_again(model):
    beams = 3
    source = padded([[5, 6, 7, 2], [8, 2], [9, 10, 11, 12, 13, 2]])
    caches, whole = (
        kind(model, source, beams, 6) for kind in (decoding._Cached, decoding._Uncached)
    )
    rng = np.random.default_rng(2)
    found = np.full((3 * beams, 1), START)
    order = np.arange(3 * beams)
    for _ in range(5):
        np.testing.assert_allclose(caches(found, order), whole(found, order), rtol=0, atol=1e-5)
        # Hypotheses are dropped and doubled.
        order = (np.arange(3)[:, None] * beams + rng.integers(beams, size=(3, beams))).reshape(-1)
        new = rng.integers(3, 20, (3 * beams, 1))
        found = np.concatenate([found[order], new], axis=1)


@pytest.mark.backends("tensorflow")
def test_one_beam_takes_the_most_probable_token(model):
    source = padded([[5, 6, 7, 2], [8, 2]])
    expected = []
    for row in source:
        found = [START]
        while found[-1] != END and len(found) <= 8:
            scores = logits(model, row[None], np.array([found]))[0, -1]
            scores[[0, START]] = -np.inf
            found.append(int(scores.argmax()))
        expected.append([token for token in found[1:] if token != END])
    assert decode(model, source, beams=1, max_length=8) == expected


@pytest.mark.backends("tensorflow")
def test_a_wide_beam_finds_the_best_of_all_sequences():
    model = build("linear", vocabulary=5, max_length=5)
    source = np.array([[3, 4, 3, 2]])

    def score(sequence):
        row = [START, *sequence]
        found = logits(model, source, np.array([row]))[0]
        powers = np.exp(found - found.max(-1, keepdims=True))
        chosen = powers[np.arange(len(row)), [*sequence, END]] / powers.sum(-1)
        return np.log(chosen).sum() / ((5 + len(row)) / 6) ** 0.6

    possible = [s for n in range(4) for s in itertools.product((3, 4), repeat=n)]
    best = max(possible, key=score)
    # As many beams as there are sequences: none is ever dropped.
    assert decode(model, source, beams=len(possible), max_length=4) == [list(best)]


def test_files_and_configuration(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    source, target = tokens(2, 5), tokens(2, 4)
    np.testing.assert_array_equal(logits(loaded, source, target), logits(model, source, target))


@pytest.mark.backends("tensorflow")
def test_the_transformer_has_as_many_parameters_as_published():
    """§3 and Table 3 of "Attention is all you need": 65 million with 37,000 tokens."""
    model = SequenceToSequence(37_000, "attention")
    block = 4 * (512 * 512 + 512) + 512 * 2048 + 2048 + 2048 * 512 + 512 + 2 * 2 * 512
    cross = 4 * (512 * 512 + 512) + 2 * 512
    assert model.count_params() == 37_000 * 512 + 12 * block + 6 * cross
    assert round(model.count_params() / 1e6) in (63, 64, 65)


@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixer": "convolution"}, "mixer of positions .*attention"),
        ({"width": 15}, "evenly"),
        ({"depth": 0}, "depth"),
        ({"vocabulary": 1}, "vocabulary"),
    ],
)
def test_bad_arguments(values, message):
    with pytest.raises(InputError, match=message):
        SequenceToSequence(**{"vocabulary": 9, **SIZES, **values})


@pytest.mark.backends("tensorflow")
def test_bad_searches(model):
    with pytest.raises(InputError, match="beams"):
        decode(model, tokens(1, 3), beams=0)
    with pytest.raises(InputError, match="length_penalty"):
        decode(model, tokens(1, 3), length_penalty=-1.0)
    with pytest.raises(InputError, match="at most 12"):
        decode(model, tokens(1, 13))


@pytest.mark.backends("tensorflow")
def test_decoding_is_compiled_once_and_follows_the_weights(monkeypatch):
    model = build("attention")
    source = tokens(3, 5)
    before = decode(model, source, 2, 11)
    monkeypatch.setattr(decoding, "_compiled", None)
    assert decode(model, source, 2, 11) == before
    for weight in model.weights:
        weight.assign(-weight)
    assert decode(model, source, 2, 11) != before


@pytest.mark.backends("tensorflow")
@pytest.mark.parametrize("count", [2, 5, 60])
def test_the_largest_are_those_of_a_full_sort(count):
    rng = np.random.default_rng(0)
    # Many ties, and what is never chosen.
    values = rng.integers(0, 12, 60).astype(float)
    values[rng.random(60) < 0.3] = -np.inf
    expected = np.argsort(-values, kind="stable")[:count]
    np.testing.assert_array_equal(decoding._largest(values, count), expected)
    values[:58] = np.nan
    expected = np.argsort(-values, kind="stable")[:count]
    np.testing.assert_array_equal(decoding._largest(values, count), expected)


@pytest.mark.backends("tensorflow")
def test_bad_ends_do_not_end_a_search():
    """As with a model that is sure: each step has an end that is second best and far worse."""
    right = [5, 6, 7, 8, 9, END]
    search = decoding._Search(1, 2, 9, 0.6)
    while not search.is_done:
        probabilities = np.full((2, 12), 1e-9)
        probabilities[:, END] = 1e-3
        probabilities[:, right[min(search.tokens.shape[1], len(right)) - 1]] = 0.99
        search.extend(np.log(probabilities))
    assert search.best() == [right[:-1]]
