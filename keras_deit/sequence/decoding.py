"""Greedy decoding and beam search, with what the decoder has to remember of earlier positions."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.sequence.model import PADDING, SequenceToSequence

START, END = 1, 2
_NEVER = -np.inf
# So many tokens a result may have more than its source.
_MORE = 50


def decode(
    model: SequenceToSequence,
    source: np.ndarray,
    beams: int = 4,
    max_length: int | None = None,
    length_penalty: float = 0.6,
    cached: bool = True,
) -> list[list[int]]:
    """Returns the best sequence that a beam search finds for each source.

    A hypothesis ends with the token 2. The best has the largest log-probability over
    ((5 + length) / 6)^α ("Google's neural machine translation system", §7). A source is done when
    no hypothesis that goes on can become better than the best that has ended. One beam is greedy
    decoding, which is done at the first end.

    Args:
        model: trained.
        source: integers (batch, positions), padded with 0 at the end.
        beams: number of hypotheses that are followed.
        max_length: most tokens of a result; by default 50 more than the source has ("Attention is
            all you need", §6.1), as far as the model takes them.
        length_penalty: α, 0 or more.
        cached: whether each step computes its own position alone.

    Returns:
        Tokens, without the start and the end.

    Raises:
        InputError: an argument is out of range, or a source is longer than the model takes.
    """
    most = model.max_length - 1
    source = np.asarray(source)
    if max_length is None:
        max_length = min(most, source.shape[-1] + _MORE)
    if beams < 1 or not 1 <= max_length <= most:
        raise InputError(
            f"beams should be 1 or more and max_length 1 to {most}. Received: {beams}, {max_length}"
        )
    if not length_penalty >= 0:
        raise InputError(f"length_penalty should be 0 or more. Received: {length_penalty}")
    if source.ndim != 2 or source.shape[1] > model.max_length:
        raise InputError(
            f"Sources should be integers (batch, at most {model.max_length} positions). "
            f"Received: {source.shape}"
        )
    predict = (_Cached if cached else _Uncached)(model, source, beams, max_length)
    search = _Search(len(source), beams, max_length, length_penalty)
    while not search.is_done:
        search.extend(predict(search.tokens, search.order))
    return search.best()


class _Search:
    """The hypotheses of a beam search.

    Attributes:
        tokens: of the hypotheses that go on, integers (batch · beams, positions).
        order: which hypothesis of the step before each of them extends, integers (batch · beams,).
    """

    def __init__(self, sources: int, beams: int, max_length: int, length_penalty: float):
        self._sources, self._beams = sources, beams
        self._max_length, self._length_penalty = max_length, length_penalty
        self.tokens = np.full((sources * beams, 1), START)
        self.order = np.arange(sources * beams)
        # At the beginning all are the same, so all but the first are never chosen.
        self._scores = np.full((sources, beams), _NEVER)
        self._scores[:, 0] = 0.0
        # The best that has ended, its score and its tokens.
        self._ended: list[tuple[float, list[int]]] = [(_NEVER, [])] * sources

    @property
    def is_done(self) -> bool:
        """Whether no hypothesis can become the best of its source, or all are long enough."""
        if self.tokens.shape[1] > self._max_length:
            return True
        ended = np.array([score for score, _ in self._ended])
        if self._beams == 1:
            return bool((ended > _NEVER).all())
        # A log-probability only falls, and counts least for the longest.
        possible = self._score(self._scores.max(axis=-1), self._max_length + 1)
        # Where nothing has ended there is nothing to compare.
        return bool(((ended > _NEVER) & (ended >= possible)).all())

    def extend(self, log_probabilities: np.ndarray) -> None:
        """Extends the hypotheses by a token.

        Args:
            log_probabilities: of the next token, (batch · beams, vocabulary).
        """
        beams, vocabulary = self._beams, log_probabilities.shape[-1]
        scores = self._scores.reshape(-1, 1) + log_probabilities
        scores[:, (PADDING, START)] = _NEVER
        flat = scores.reshape(self._sources, beams * vocabulary)
        # Twice as many, because each of the beams may end.
        found = [_largest(row, 2 * beams) for row in flat]
        tokens, order = np.empty((self._sources, beams), int), np.empty((self._sources, beams), int)
        for number, candidates in enumerate(found):
            rest = self._end(number, candidates, flat[number], vocabulary)
            tokens[number], order[number] = rest % vocabulary, rest // vocabulary
            self._scores[number] = flat[number, rest]
        self.order = (np.arange(self._sources)[:, None] * beams + order).reshape(-1)
        extended = self.tokens[self.order]
        self.tokens = np.concatenate([extended, tokens.reshape(-1, 1)], axis=1)

    def _end(self, number: int, candidates: np.ndarray, scores, vocabulary: int) -> np.ndarray:
        """Keeps the best hypothesis that ends, and returns the best candidates that do not."""
        beams, ends = self._beams, candidates % vocabulary == END
        for candidate in candidates[:beams][ends[:beams]]:
            row = self.tokens[number * beams + candidate // vocabulary]
            score = self._score(scores[candidate], len(row))
            # Greedy decoding keeps the first.
            if score > self._ended[number][0] and (beams > 1 or not self._has_ended(number)):
                self._ended[number] = (score, [*row[1:]])
        return candidates[~ends][:beams]

    def _has_ended(self, number: int) -> bool:
        return self._ended[number][0] > _NEVER

    def _score(self, log_probability, length: int):
        return log_probability / ((5 + length) / 6) ** self._length_penalty

    def best(self) -> list[list[int]]:
        """Returns the best hypothesis of each source; one that has not ended if none has."""
        results = []
        for number, (_, tokens) in enumerate(self._ended):
            row = self.tokens[number * self._beams][1:]
            results.append([int(x) for x in (tokens if self._has_ended(number) else row)])
        return results


class _Uncached:
    """Computes all positions at each step."""

    def __init__(self, model: SequenceToSequence, source: np.ndarray, beams: int, length: int):
        self._source = np.repeat(source, beams, axis=0)
        self._model, self._length = model, length

    def __call__(self, tokens: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Returns the log-probabilities of the next token, (batch · beams, vocabulary)."""
        logits = self._model({"source": self._source, "target": tokens}, training=False)
        return _log_softmax(ops.convert_to_numpy(logits)[:, -1])


class _Cached:
    """Computes one position at each step."""

    def __init__(self, model: SequenceToSequence, source: np.ndarray, beams: int, length: int):
        start, self._step = _compiled_parts(model, length)
        encoded, mask = start({"source": source.astype("int32")})
        fixed = [array for pair in encoded for array in pair] + [mask]
        self._fixed = [ops.repeat(array, beams, axis=0) for array in fixed]
        rows = len(source) * beams
        self._caches = [
            {
                name: ops.zeros((rows, *shape), model.compute_dtype)
                for name, shape in block.mixing.cache_shapes(length, model.width).items()
            }
            for block in model.decoder
        ]

    def __call__(self, tokens: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Returns the log-probabilities of the next token, (batch · beams, vocabulary)."""
        logits, self._caches = self._step(
            {
                "token": tokens[:, -1:].astype("int32"),
                "position": np.int32(tokens.shape[1] - 1),
                "order": order.astype("int32"),
                "caches": self._caches,
                "fixed": self._fixed,
            }
        )
        return _log_softmax(ops.convert_to_numpy(logits))


def _compiled_parts(model: SequenceToSequence, length: int) -> tuple[Callable, Callable]:
    """Returns what computes the encoder and a step, compiled once for each length of the caches."""
    if "_decoding" not in vars(model):
        # Past Keras, which would make them part of the model.
        object.__setattr__(model, "_decoding", {"start": _compiled(_Start(model))})
    parts = vars(model)["_decoding"]
    if length not in parts:
        parts[length] = _compiled(_Step(model))
    return parts["start"], parts[length]


class _Start(keras.Model):
    """Computes what the decoder needs of the encoder: keys and values by block, and the mask."""

    def __init__(self, model: SequenceToSequence):
        super().__init__(name="start")
        self.whole = model
        self.built = True

    def call(self, inputs, training=False):
        encoded, mask = self.whole.encode(inputs["source"])
        pairs = [block.cross_attention.keys_and_values(encoded) for block in self.whole.decoder]
        return pairs, mask


class _Step(keras.Model):
    """Computes the logits of the token after a position, and the caches with that position."""

    def __init__(self, model: SequenceToSequence):
        super().__init__(name="step")
        self.whole = model
        self.built = True

    def call(self, inputs, training=False):
        *pairs, mask = inputs["fixed"]
        position, order = inputs["position"], inputs["order"]
        token = self.whole.embedding(inputs["token"], first=position)
        caches = []
        for number, block in enumerate(self.whole.decoder):
            cache = {
                name: ops.take(values, order, axis=0)
                for name, values in inputs["caches"][number].items()
            }
            keys, values = pairs[2 * number : 2 * number + 2]
            token, cache = block.step(token, position, cache, keys, values, mask)
            caches.append(cache)
        return self.whole.embedding(token, reverse=True)[:, 0], caches


def _compiled(model: keras.Model) -> Callable:
    """Returns a function that computes a model in inference, compiled where the backend does it."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        def run(inputs):
            with torch.inference_mode():
                return model(inputs, training=False)

        return run
    if backend == "tensorflow":
        import tensorflow as tf

        # A number of Python or NumPy would be part of the function, and each step another one.
        forward = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
        return lambda inputs: forward(keras.tree.map_structure(tf.convert_to_tensor, inputs))
    import jax

    forward = jax.jit(lambda *state: model.stateless_call(*state, training=False)[0])

    def run(inputs):
        # Read each time, because the model may have been trained since.
        variables = (model.trainable_variables, model.non_trainable_variables)
        return forward(*([v.value for v in group] for group in variables), inputs)

    return run


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the largest values in their order; of equal ones the first."""
    falling = -values
    last = np.partition(falling, count - 1)[count - 1]
    # Not ≤, which would leave out what is not a number.
    possible = np.flatnonzero(~(falling > last))
    return possible[np.argsort(falling[possible], kind="stable")[:count]]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def padded(sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns sequences of tokens as integers (sequences, longest), padded with 0 at their end."""
    length = max(map(len, sequences), default=0)
    rows = [[*sequence, *[PADDING] * (length - len(sequence))] for sequence in sequences]
    return np.array(rows, "int32").reshape(len(sequences), length)
