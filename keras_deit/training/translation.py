"""Trains a translation from pairs of texts to a finished run."""

import json
import pathlib
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from keras_deit.core.autotuning import not_autotuned
from keras_deit.core.errors import InputError
from keras_deit.core.files import (
    atomic_write,
    check_writable,
    disk_errors_as_input_errors,
    exclusive_lock,
    read_json,
    write_json,
)
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
from keras_deit.training.checkpoints import CheckpointManager
from keras_deit.training.loop import TrainingData, TrainingLoop
from keras_deit.training.report import environment
from keras_deit.training.run import write_rows
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
        kept = _fit(job, model, train, validation, run_dir, print_fn)
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


def _fit(
    job: TranslationJob,
    model: SequenceToSequence,
    train: PairBatches,
    validation: PairBatches,
    run_dir: pathlib.Path,
    print_fn: Callable[[str], None],
) -> dict:
    """Does the steps that are left, restores the weights to keep, and returns their figures."""

    def validate(*callbacks: keras.callbacks.Callback) -> dict[str, float]:
        return model.evaluate(
            as_dataset(validation.once()), callbacks=list(callbacks), return_dict=True, verbose=0
        )

    epochs, steps = _epochs(job, train.steps_per_pass)
    averaged = range(max(epochs - job.recipe.averaged_checkpoints, 0) + 1, epochs + 1)
    checkpoints = CheckpointManager(
        run_dir / "checkpoints", job.checkpoint_seconds, writes=is_writer(), print_fn=print_fn
    )
    data = TrainingData(train.iterate, steps, validate, as_dataset=as_dataset)
    loop = TrainingLoop(
        *(model, "translation", data, epochs, job.recipe.schedule(), _MONITOR, "min"),
        checkpoints=checkpoints,
    )
    loop.restore()
    with loop.running():
        while not loop.finished:
            loop.train_epoch()
            if loop.validate():
                _save_weights(model, run_dir / _BEST_FILE)
            if loop.progress.epoch in averaged:
                _save_weights(model, run_dir / _AVERAGED_FILE.format(loop.progress.epoch))
            if is_writer():
                write_rows(run_dir / "metrics.csv", list(loop.progress.history))
            loop.end_epoch()
    if averaged:
        _average(model, [run_dir / _AVERAGED_FILE.format(number) for number in averaged])
        loss = float(validate()["loss"])
        return {"averaged_steps": [number * steps for number in averaged], _MONITOR: loss}
    model.load_weights(run_dir / _BEST_FILE)
    best = loop.progress.best
    return {"best_step": best["epoch"] * steps, _MONITOR: best[_MONITOR]}


def _epochs(job: TranslationJob, steps_per_pass: int) -> tuple[int, int]:
    """Returns the number of epochs and their steps, together at least as many as asked for.

    All have the same number, which is as near to that of a pass as possible.
    """
    total = job.epochs * steps_per_pass if job.epochs else job.recipe.steps
    epochs = -(-total // max(steps_per_pass, _MIN_EPOCH_STEPS))
    return epochs, -(-total // epochs)


def _save_weights(model: SequenceToSequence, path: pathlib.Path) -> None:
    if is_writer():
        with atomic_write(path) as partial:
            model.save_weights(partial)


def _average(model: SequenceToSequence, files: list[pathlib.Path]) -> None:
    """Gives a model the mean of the weights in files ("Attention is all you need", §6.1)."""
    sums = 0
    for file in files:
        model.load_weights(file)
        # Copies, because some backends assign in place.
        values = [np.array(keras.ops.convert_to_numpy(x)) for x in model.trainable_variables]
        sums = [a + b for a, b in zip(sums, values, strict=True)] if sums else values
    for variable, value in zip(model.trainable_variables, sums, strict=True):
        variable.assign(value / len(files))


def as_dataset(batches: Iterator) -> Iterable:
    """Returns batches as `fit` and `evaluate` take them, whatever their lengths."""
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    # Of a generator Keras takes the lengths of its first two batches for those of all.
    ids = tf.TensorSpec((None, None), tf.int32)
    dataset = tf.data.Dataset.from_generator(
        lambda: batches,
        output_signature=(
            *({"source": ids, "target": ids}, ids),
            tf.TensorSpec((None, None), tf.float32),
        ),
    ).prefetch(2)
    return not_autotuned(dataset)


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
