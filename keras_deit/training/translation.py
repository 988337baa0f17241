"""Trains a translation from pairs of texts to a finished run."""

import csv
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import warnings
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import (
    atomic_write,
    check_writable,
    disk_errors_as_input_errors,
    exclusive_lock,
    read_json,
    write_json,
)
from keras_deit.core.keras_internals import build_from_first_batch, sync_state
from keras_deit.core.precision import training_precision
from keras_deit.core.processes import data_parallel_replicas, is_writer
from keras_deit.distributed import check_backend, strategy_scope
from keras_deit.sequence import (
    PairBatches,
    Pairs,
    SequenceToSequence,
    Subwords,
    TokenAccuracy,
    TokenCrossentropy,
    Translator,
    load_pairs,
    translation_scores,
)
from keras_deit.sequence.batches import fitting
from keras_deit.sequence.translator import MODEL_FILE, SUBWORDS_FILE, sacrebleu
from keras_deit.training.callbacks import ProgressBar
from keras_deit.training.checkpoints import CheckpointManager, Progress, TrainingState
from keras_deit.training.interruption import Interruption, Stopped
from keras_deit.training.report import environment
from keras_deit.training.steps import check_divisible
from keras_deit.training.translation_job import (
    CONFIG_FILE,
    TranslationJob,
    check_no_other_run,
    check_same_run,
)

# A validation comes after a pass over the pairs, but not before so many steps.
_MIN_EPOCH_STEPS = 200
_BEST_FILE, _AVERAGED_FILE = "best.weights.h5", "epoch-{}.weights.h5"
_MONITOR = "val_loss"


def train_translation(
    job: TranslationJob, run_dir: pathlib.Path, print_fn: Callable[[str], None] = print
) -> dict:
    """Trains a model of translations, and scores it on validation and test.

    A finished run is not repeated, and one that was stopped resumes from its newest checkpoint, bit
    for bit if the backend is deterministic. The weights of the lowest validation loss are kept.

    Args:
        job: what to do.
        run_dir: directory of the run.
        print_fn: called with each line for the user.

    Returns:
        The figures in `summary.json`.

    Raises:
        InputError: what was asked for is not possible, or the directory holds something else.
        Stopped: by SIGTERM or Ctrl-C; everything is saved.
    """
    sacrebleu()  # Missed at the end, it would be missed late.
    check_backend(job.devices)
    check_no_other_run(run_dir)
    check_writable(run_dir / CONFIG_FILE)
    with strategy_scope(job.devices), training_precision(job.mixed_precision):
        check_divisible(job.recipe.batch_size, data_parallel_replicas())
        pairs = load_pairs(job.train, job.validation, job.test, job.languages, job.data_dir)
        check_same_run(run_dir, job.identity(pairs))
        if (run_dir / "summary.json").is_file():
            print_fn(f"{run_dir} holds this run, finished; its result:")
            return read_json(run_dir / "summary.json", f"{run_dir} is damaged")
        for note in (f"{pairs.name}: {_counts(pairs)}", *pairs.notes):
            print_fn(note)
        return _train(job, pairs, run_dir, print_fn)


def _train(job: TranslationJob, pairs: Pairs, run_dir: pathlib.Path, print_fn) -> dict:
    run_dir.mkdir(parents=True, exist_ok=True)
    advice = "Once it can, the same command resumes from the last checkpoint."
    with (
        exclusive_lock(run_dir / "run.lock"),
        disk_errors_as_input_errors("The disk", advice),
    ):
        is_begun = (run_dir / CONFIG_FILE).is_file()
        subwords = Subwords.read(run_dir / SUBWORDS_FILE) if is_begun else _subwords(job, pairs)
        train = _encoded(subwords, pairs.train, job, "train", print_fn)
        validation = _encoded(subwords, pairs.validation, job, "validation", print_fn)
        if not is_begun and is_writer():
            subwords.write(run_dir / SUBWORDS_FILE)
            write_json(run_dir / CONFIG_FILE, {**job.config(pairs), "environment": environment()})
        keras.utils.set_random_seed(job.seed)
        model = SequenceToSequence(len(subwords), **job.recipe.model_values())
        print_fn(f"{model.count_params():,} parameters, {len(subwords):,} sub-words.")
        model.compile(
            job.recipe.build_optimizer(),
            TokenCrossentropy(job.recipe.label_smoothing),
            metrics=[TokenAccuracy()],
        )
        kept = _Loop(job, model, train, validation, run_dir, print_fn).run()
        return _finish(job, model, kept, subwords, pairs, run_dir, print_fn)


def _counts(pairs: Pairs) -> str:
    splits = ("train", "validation", "test")
    return ", ".join(f"{len(getattr(pairs, split)):,} {split}" for split in splits) + " pairs"


def _subwords(job: TranslationJob, pairs: Pairs) -> Subwords:
    texts = (text for pair in pairs.train for text in pair)
    return Subwords.learn(texts, job.recipe.vocabulary, job.seed)


def _encoded(subwords: Subwords, pairs, job: TranslationJob, split: str, print_fn) -> PairBatches:
    tokens = [subwords.encode([pair[side] for pair in pairs]) for side in (0, 1)]
    sources, targets = fitting(*tokens, job.recipe.max_length)
    if len(sources) < len(pairs):
        print_fn(
            f"{split}: {len(pairs) - len(sources):,} pairs with {job.recipe.max_length} sub-words "
            "or more on a side dropped"
        )
    needed = job.recipe.batch_size if split == "train" else 1
    if len(sources) < needed:
        raise InputError(
            f"batch_size should be at most {len(sources):,}, the pairs that are left for {split}. "
            f"Received: {job.recipe.batch_size}"
        )
    return PairBatches(sources, targets, job.recipe.batch_size, job.recipe.max_length, job.seed)


class _Loop:
    """Trains between validations by Keras's `fit`, and can stop and resume between two steps."""

    def __init__(self, job, model, train: PairBatches, validation: PairBatches, run_dir, print_fn):
        self._model, self._train, self._validation = model, train, validation
        self._run_dir, self._averaged = run_dir, job.recipe.averaged_checkpoints
        self._total = job.epochs * train.steps_per_pass if job.epochs else job.recipe.steps
        self._epoch_steps = min(max(train.steps_per_pass, _MIN_EPOCH_STEPS), self._total)
        self._epochs = -(-self._total // self._epoch_steps)
        self._interruption = Interruption()
        self._progress = Progress()
        self._checkpoints = CheckpointManager(
            run_dir / "checkpoints", job.checkpoint_seconds, writes=is_writer(), print_fn=print_fn
        )

    def run(self) -> dict:
        """Does the steps that are left, restores the weights to keep, and returns their figures."""
        restored = self._restore()
        lengths = (self._total, self._epochs, self._done)
        bar = ProgressBar("translation", *lengths, _MONITOR, self._epoch_steps)
        bar.set_model(self._model)
        with warnings.catch_warnings():
            # A generator does not tell Keras how long a pass is.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            with self._interruption.active(), bar:
                self._checkpoints.save_first(self._state, self._progress)
                while self._progress.epoch < self._epochs:
                    bar.on_epoch_begin(self._progress.epoch)
                    logs = self._train_epoch(bar, restored)
                    restored = None
                    self._validate(bar, logs)
            if self._averaged:
                return self._average()
        self._model.load_weights(self._run_dir / _BEST_FILE)
        best = self._progress.best
        return {"best_step": self._steps(best["epoch"]), _MONITOR: best[_MONITOR]}

    def _average(self) -> dict:
        """Averages the weights after the last epochs ("Attention is all you need", §6.1)."""
        variables, sums = self._model.trainable_variables, 0
        numbers = [n for n in range(1, self._epochs + 1) if self._is_averaged(n)]
        for number in numbers:
            self._model.load_weights(self._run_dir / _AVERAGED_FILE.format(number))
            # Copies, because some backends assign in place.
            values = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
            sums = [a + b for a, b in zip(sums, values, strict=True)] if sums else values
        for variable, value in zip(variables, sums, strict=True):
            variable.assign(value / len(numbers))
        steps = [self._steps(number) for number in numbers]
        return {"averaged_steps": steps, _MONITOR: self._evaluate()[_MONITOR]}

    def _is_averaged(self, number: int) -> bool:
        return number > self._epochs - self._averaged

    def _steps(self, epoch: int) -> int:
        """Returns the steps until the end of an epoch, counted from 1."""
        return min(epoch * self._epoch_steps, self._total)

    def _evaluate(self) -> dict[str, float]:
        figures = self._model.evaluate(_for_fit(self._validation.once), return_dict=True, verbose=0)
        return {f"val_{name}": float(value) for name, value in figures.items()}

    @property
    def _done(self) -> int:
        return self._progress.epoch * self._epoch_steps + self._progress.step

    def _restore(self) -> dict | None:
        """Restores the newest checkpoint, and returns its values if it is inside an epoch."""
        build_from_first_batch(self._model, self._train.iterate(0))
        self._state = TrainingState(self._model)
        found = self._checkpoints.load()
        if found is None:
            return None
        self._progress, values = found
        self._state.assign(values, str(self._checkpoints.latest), 1)
        return values if self._progress.step else None

    def _train_epoch(self, bar: ProgressBar, restored: dict | None) -> dict[str, float]:
        epoch = self._progress.epoch
        left = min(self._epoch_steps, self._total - epoch * self._epoch_steps) - self._progress.step
        steps = _Steps(self, bar, restored)
        self._model.fit(
            _for_fit(functools.partial(self._train.iterate, self._done), left),
            initial_epoch=epoch,
            epochs=epoch + 1,
            steps_per_epoch=left,
            callbacks=[steps],
            shuffle=False,
            verbose=0,
        )
        if steps.done != left:
            raise RuntimeError(f"Keras did {steps.done} of {left} steps.")
        return steps.logs

    def _validate(self, bar: ProgressBar, logs: dict[str, float]) -> None:
        """Keeps the weights if they are the best, and checkpoints what is done."""
        logs = logs | self._evaluate()
        for name in ("loss", _MONITOR):
            if not math.isfinite(logs[name]):
                raise InputError(
                    f"The {name} became {logs[name]} by step {self._done:,}; a lower "
                    "--learning_rate may help."
                )
        best, number = self._progress.best, self._progress.epoch + 1
        if logs[_MONITOR] < best.get(_MONITOR, math.inf):
            best = {"epoch": number, _MONITOR: logs[_MONITOR]}
            self._save_weights(_BEST_FILE)
        if self._is_averaged(number):
            self._save_weights(_AVERAGED_FILE.format(number))
        history = (*self._progress.history, {"step": self._steps(number), **logs})
        self._progress = Progress(epoch=number, history=history, best=best)
        if is_writer():
            _write_metrics(self._run_dir / "metrics.csv", history)
        bar.on_epoch_end(number - 1, logs)
        self._save_if_due(at_once=number == self._epochs)

    def _save_weights(self, name: str) -> None:
        if is_writer():
            with atomic_write(self._run_dir / name) as partial:
                self._model.save_weights(partial)

    def step_ended(self) -> None:
        """Counts a step, and checkpoints or stops if it is time to."""
        self._progress = dataclasses.replace(self._progress, step=self._progress.step + 1)
        if self._progress.step == self._epoch_steps or self._done == self._total:
            # What the validation draws makes no difference.
            self._state.capture_random_state()
        else:
            self._save_if_due(in_epoch=True)

    def restore_random_state(self) -> None:
        """Makes the next step independent of what was drawn since the last one."""
        self._state.restore_random_state()

    def assign_metrics(self, values: dict) -> None:
        """Restores the running means of an epoch, after Keras has reset them."""
        self._state.assign_metrics(values)

    def _save_if_due(self, at_once: bool = False, in_epoch: bool = False) -> None:
        """Writes a checkpoint if it is time to, and stops if a signal was received."""
        number = self._interruption.received()
        if not (number or at_once or self._checkpoints.due()):
            return
        sync_state(self._model)
        if in_epoch:
            self._state.capture_random_state()
        path = self._checkpoints.save(self._state, self._progress)
        if number:
            raise Stopped(
                number,
                f"Stopped after step {self._done:,}. Everything is saved in {path}; the same "
                "command resumes from there.",
            )


class _Steps(keras.callbacks.Callback):
    """Passes what Keras reports of the steps in one `fit` on to the loop."""

    def __init__(self, loop: _Loop, bar: ProgressBar, restored: dict | None):
        super().__init__()
        self._loop, self._bar, self._restored = loop, bar, restored
        self.done = 0
        self.logs: dict[str, float] = {}

    def on_epoch_begin(self, epoch, logs=None):
        if self._restored is not None:
            self._loop.assign_metrics(self._restored)

    def on_train_batch_begin(self, batch, logs=None):
        if self.done == 0:
            self._loop.restore_random_state()

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self._bar.on_train_batch_end(batch, logs)
        self._loop.step_ended()

    def on_epoch_end(self, epoch, logs=None):
        self.logs = {name: float(value) for name, value in logs.items()}


def _for_fit(batches: Callable[[], Iterator], count: int | None = None):
    """Returns the first batches as `fit` and `evaluate` take them, whatever their lengths."""
    if keras.backend.backend() != "tensorflow":
        # A generator, because Keras loses a batch of other iterators.
        return (batch for batch in itertools.islice(batches(), count))
    import tensorflow as tf

    # Of a generator Keras takes the lengths of its first two batches for those of all.
    ids = tf.TensorSpec((None, None), tf.int32)
    return tf.data.Dataset.from_generator(
        lambda: itertools.islice(batches(), count),
        output_signature=(
            *({"source": ids, "target": ids}, ids),
            tf.TensorSpec((None, None), tf.float32),
        ),
    ).prefetch(2)


def _write_metrics(path: pathlib.Path, history: tuple[dict, ...]) -> None:
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def _finish(
    job: TranslationJob,
    model: SequenceToSequence,
    kept: dict,
    subwords: Subwords,
    pairs: Pairs,
    run_dir: pathlib.Path,
    print_fn: Callable[[str], None],
) -> dict:
    """Keeps the model, and scores it on validation and test.

    Args:
        job, model, subwords, pairs, run_dir, print_fn: of the training.
        kept: the figures of the weights that the model has.
    """
    translator = Translator(model, subwords, job.beams, job.length_penalty)
    summary = {
        **kept,
        _MONITOR: round(kept[_MONITOR], 4),
        "parameters": model.count_params(),
        "subwords": len(subwords),
    }
    for split in ("validation", "test"):
        sources, references = zip(*getattr(pairs, split), strict=True)
        found = translator.translate(sources, shorten=True)
        summary[split] = translation_scores(found, references)
        shortened = summary[split]["shortened"] = translator.count_too_long(sources)
        if shortened:
            print_fn(
                f"{split}: {shortened:,} sources with more than {translator.longest} sub-words "
                "shortened"
            )
        if is_writer():
            rows = zip(sources, references, found, strict=True)
            _write_translations(run_dir / f"{split}.tsv", rows)
    if is_writer():
        with atomic_write(run_dir / MODEL_FILE) as partial:
            model.save(partial)
        write_json(run_dir / "summary.json", summary)
    return json.loads(json.dumps(summary))


def _write_translations(path: pathlib.Path, rows: Iterator[tuple[str, str, str]]) -> None:
    """Writes source, reference and translation of each pair."""
    with atomic_write(path) as partial:
        partial.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")
