"""The command evaluate: of a run, or of weights."""

from typing import get_args

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, user_path, write_json
from keras_deit.evaluation import SPLITS, evaluate_run, evaluate_weights, result_table
from keras_deit.pretrained.own_weights import RUN_WEIGHTS
from keras_deit.recipes import Option
from keras_deit.training import OnProblem


def evaluate_options() -> list[Option]:
    weights = (
        f"Of a run {', '.join(RUN_WEIGHTS)}, by default the final ones and, if the run has it, "
        "their EMA; without --run_dir a file of any format or an hf:// address."
    )
    return [
        Option("run_dir", str, "Directory of a finished run."),
        Option("model", str, "Name of a model, with its released weights or those of --weights."),
        Option("weights", str, weights),
        Option(
            "dataset",
            str,
            "Data, as for a training; by default that of the run. Classes are matched by name.",
        ),
        Option("compare", "texts", "Directories of other runs, to count where the answers differ."),
        Option("data_dir", str, "Folder of prepared data of TensorFlow Datasets, without a run."),
        Option("split", str, "Split to evaluate on; by default test, if the data has it.", SPLITS),
        Option("batch_size", int, "Images at a time.", default=64, minimum=1),
        Option(
            "on_bad_image",
            str,
            "What to do at an image that cannot be read; by default what the training did.",
            get_args(OnProblem),
        ),
        Option(
            "output",
            str,
            "JSON file to write the figures into, with what has changed since the training.",
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
    if result.get("of_run") is False:
        print(
            "Not written into evaluation.json of the run, which is for its final weights on the "
            "reported split of its own data; --output FILE writes it."
        )


def _result(values: dict) -> dict:
    if "run_dir" in values:
        for name in ("model", "data_dir"):
            if name in values:
                raise InputError(f"--{name} is for weights without a run; --run_dir is given.")
        return evaluate_run(**values, write=True)
    if "compare" in values:
        raise InputError("--compare is for runs; give --run_dir.")
    if not {"model", "weights"} & values.keys():
        raise InputError("Give --run_dir, --model or --weights.")
    if "dataset" not in values:
        raise InputError("--dataset is required: the data to evaluate the weights on.")
    return evaluate_weights(**values)
