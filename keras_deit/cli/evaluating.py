"""The command evaluate: of a run, or of weights."""

from typing import get_args

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, user_path, write_json
from keras_deit.data import load_imagenet_sets
from keras_deit.evaluation import (
    SPLITS,
    disagreement_table,
    evaluate_imagenet,
    evaluate_run,
    evaluate_weights,
    result_table,
)
from keras_deit.evaluation.grouping import GROUPS
from keras_deit.evaluation.imagenet import SUITE
from keras_deit.pretrained.own_weights import RUN_WEIGHTS
from keras_deit.recipes import Option
from keras_deit.training import OnProblem

# What only the suite takes.
_SUITE_FLAGS = {
    "imagenet_val": "Folder of ImageNet's validation images, by WordNet id or index of the class.",
    "imagenet_v2": "Folder of ImageNet-V2, by index of the class.",
    "real_labels": "ReaL's file real.json, the labels of the validation images.",
}
_OF_SUITE = ("suite", "model", "weights", "data_dir", "batch_size", "output", *_SUITE_FLAGS)


def evaluate_options() -> list[Option]:
    weights = (
        f"Of a run {', '.join(RUN_WEIGHTS)}, by default the final ones and, if the run has it, "
        "their EMA; without --run_dir a file of any format or an hf:// address."
    )
    return [
        Option("run_dir", str, "Directory of a finished run."),
        Option("model", "texts", "Name of a model; its released weights, or those of --weights."),
        Option("weights", "texts", weights),
        Option("suite", str, "Evaluate one or more weights on val, V2 and ReaL.", (SUITE,)),
        *(Option(name, str, text) for name, text in _SUITE_FLAGS.items()),
        Option(
            "dataset",
            str,
            "Other data than those of the run, such as a new test set, which needs no split train; "
            "a folder without splits is taken whole. Classes are matched by name.",
        ),
        Option("compare", "texts", "Directories of other runs, to count where the answers differ."),
        Option(
            "data_dir",
            str,
            "Where prepared data of TensorFlow Datasets are; by default where the run had them.",
        ),
        Option("split", str, "Split to evaluate on; by default test, if the data has it.", SPLITS),
        Option("batch_size", int, "Images at a time.", default=64, minimum=1),
        Option(
            "group_by",
            str,
            "Also print the figures of whole videos, whose probabilities are the means over their "
            "faces: for folders that keras-deit faces makes.",
            GROUPS,
        ),
        Option(
            "on_bad_image",
            str,
            "What to do at an image that cannot be read; by default what the training did.",
            get_args(OnProblem),
        ),
        Option(
            "output",
            str,
            "JSON file to write the figures into, with what has changed since the training; of a "
            f"suite {SUITE}.json by default, with a page beside it.",
        ),
        Option(
            "max_image_pixels",
            int,
            "Most pixels of an image that is decoded; by default those of the training.",
            minimum=1,
        ),
    ]


def evaluate(values: dict) -> None:
    """Prints the figures of a run or of weights, and writes them."""
    if "suite" in values:
        _evaluate_suite(values)
        return
    for name in _SUITE_FLAGS:
        if name in values:
            raise InputError(f"--{name} needs --suite {SUITE}.")
    for name in ("model", "weights"):
        if name in values:
            values[name] = _only(name, values[name])
    output = user_path(values.pop("output")) if "output" in values else None
    if output is not None:
        check_writable(output)
    result = _result(values)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, result)
    speed = result.get("images_per_second")
    at_speed = f", {speed:,.0f} images/s" if speed else ""
    print(f"{result['split']} split, {result['examples']} images{at_speed}:")
    print(result_table(result))
    if "videos" in result:
        print(f"By video, {result['videos']['examples']} videos:\n{result_table(result['videos'])}")
    if "compare" in values:
        print(disagreement_table(result["disagreement"]))
    if result.get("of_run") is False:
        print(
            "Not written into evaluation.json of the run, which is for its final weights on the "
            "reported split of its own data; --output FILE writes it."
        )


def _evaluate_suite(values: dict) -> None:
    other = sorted(name for name in values if name not in _OF_SUITE)
    if other:
        raise InputError(f"--{other[0]} is not for --suite {SUITE}.")
    output = user_path(values.get("output", f"{SUITE}.json"))
    if output.suffix != ".json":
        raise InputError(f"--output should end in .json. Received: {str(output)!r}")
    sets = load_imagenet_sets(
        *(values.get(name) for name in _SUITE_FLAGS), data_dir=values.get("data_dir")
    )
    models, weights = values.get("model", ()), values.get("weights", ())
    evaluate_imagenet(output, sets, models, weights, values["batch_size"])
    print(f"{output}, {output.with_suffix('.md')}")


def _only(name: str, values: list[str]) -> str:
    if len(values) > 1:
        raise InputError(f"Several values of --{name} are for --suite {SUITE}.")
    return values[0]


def _result(values: dict) -> dict:
    if "run_dir" in values:
        if "model" in values:
            raise InputError("--model is for weights without a run; --run_dir is given.")
        return evaluate_run(**values, write=True)
    if "compare" in values:
        raise InputError("--compare is for runs; give --run_dir.")
    if not {"model", "weights"} & values.keys():
        raise InputError("Give --run_dir, --model or --weights.")
    if "dataset" not in values:
        raise InputError("--dataset is required: the data to evaluate the weights on.")
    return evaluate_weights(**values)
