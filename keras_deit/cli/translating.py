"""The command translate: training from pairs of texts, and translating."""

import dataclasses
import sys

from keras_deit.core.errors import InputError
from keras_deit.core.files import user_path
from keras_deit.distributed import Devices
from keras_deit.recipes import Option
from keras_deit.recipes.option_kinds import field_options
from keras_deit.sequence import SEQUENCE_RECIPES, SequenceRecipe, Translator, sequence_recipe
from keras_deit.sequence.mixers import MIXERS
from keras_deit.sequence.recipes import OPTIMIZERS
from keras_deit.training import TranslationJob, train_translation
from keras_deit.training.options import PRECISIONS

_CHOICES = {"mixer": MIXERS, "optimizer": OPTIMIZERS}
_RECIPE = "small"


def _recipe_options() -> list[Option]:
    """Returns an option for each value of a recipe."""
    names = tuple(f.name for f in dataclasses.fields(SequenceRecipe) if f.name != "source")
    return [
        dataclasses.replace(
            option,
            help=f"{option.help[0].upper()}{option.help[1:]} By default the recipe's.",
            choices=_CHOICES.get(option.name),
        )
        for option in field_options(SequenceRecipe, names)
    ]


def _training_options() -> list[Option]:
    train = (
        "Pairs to train on: a .tsv file of SOURCE, tab, TARGET; names:en-de for names in two "
        "languages that Babel ships; or a dataset of TFDS, wmt14_translate/de-en."
    )
    return [
        Option("train", str, train),
        Option("validation", str, "File of the pairs for validation, held out by default."),
        Option("test", str, "File of the pairs for the test, held out by default."),
        Option("languages", str, "Source and target of a dataset of TFDS, such as en-de."),
        Option("data_dir", str, "Directory of TFDS's prepared data."),
        Option("recipe", str, "How to train.", tuple(SEQUENCE_RECIPES)),
        *_recipe_options(),
        Option("epochs", int, "Passes over the pairs, instead of --steps.", minimum=1),
        Option("seed", int, "Seed of weights, orders and dropout."),
        Option("mixed_precision", str, "Precision of the training.", tuple(PRECISIONS)),
        Option("checkpoint_seconds", float, "Seconds from one checkpoint to the next."),
        *field_options(Devices, ("strategy", "virtual_devices")),
    ]


def translate_options() -> list[Option]:
    return [
        Option("run_dir", str, "Directory of the run.", required=True),
        *_training_options(),
        Option("beams", int, "Hypotheses of the beam search; 1 is greedy.", minimum=1),
        Option("length_penalty", float, "Exponent α of the length in the score of a hypothesis."),
        Option("input", str, "File of texts to translate, one a line; - for stdin."),
    ]


def translate(values: dict) -> None:
    """Trains a translation, or prints the translations of texts."""
    values = {name: value for name, value in values.items() if value is not None}
    run_dir, texts = user_path(values.pop("run_dir")), values.pop("texts", [])
    file = values.pop("input", None)
    if "train" in values:
        if texts or file is not None:
            raise InputError("Train first, and translate texts by another call, without --train.")
        _train(values, run_dir)
        return
    searching = {name: values.pop(name) for name in ("beams", "length_penalty") if name in values}
    if values:
        raise InputError(f"--{next(iter(values))} needs --train.")
    if texts and file is not None:
        raise InputError("Give texts or --input, not both.")
    if not texts and file is None and sys.stdin.isatty():
        raise InputError("Give texts, --input FILE, or lines on stdin; or --train PAIRS to train.")
    translator = Translator.from_run(run_dir, **searching)
    lines = translator.translate(texts or _lines(file or "-"))
    print("\n".join(lines))


def _lines(file: str) -> list[str]:
    try:
        text = sys.stdin.buffer.read() if file == "-" else user_path(file).read_bytes()
        lines = text.decode("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        number = text[: error.start].count(b"\n") + 1
        raise InputError(f"Line {number} of {file} is not UTF-8: {error.reason}.") from error
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{file} has no lines.")
    return [line.removesuffix("\r") for line in lines]


def _train(values: dict, run_dir) -> None:
    name = values.pop("recipe", _RECIPE)
    known = {field.name for field in dataclasses.fields(SequenceRecipe)}
    changes = {key: values.pop(key) for key in list(values) if key in known}
    of_devices = {key: values.pop(key) for key in ("strategy", "virtual_devices") if key in values}
    epochs = values.pop("epochs", None)
    if epochs is not None and "steps" in changes:
        raise InputError("Give --steps or --epochs, not both.")
    recipe = dataclasses.replace(sequence_recipe(name), **changes)
    if "mixed_precision" in values:
        values["mixed_precision"] = PRECISIONS[values["mixed_precision"]]
    job = TranslationJob(recipe=recipe, epochs=epochs, devices=Devices(**of_devices), **values)
    summary = train_translation(job, run_dir)
    steps = summary.get("averaged_steps", [])
    at = (
        f"average of steps {', '.join(f'{step:,}' for step in steps)}"
        if steps
        else f"best at step {summary['best_step']:,}"
    )
    print(f"{summary['parameters']:,} parameters; {at}, validation loss {summary['val_loss']:.4f}.")
    for split in ("validation", "test"):
        scores = summary[split]
        print(
            f"{split:10} BLEU {scores['bleu']:.2f}, chrF {scores['chrf']:.2f}, exact "
            f"{scores['exact_match']:.2%} of {scores['examples']:,}"
        )
    print(f'Translate by it: keras-deit translate --run_dir {run_dir} "TEXT"')
