"""The commands: the flags of each, and what it does."""

import dataclasses
import re
from collections.abc import Callable

from keras_deit.cli.augreg import augreg, augreg_options
from keras_deit.cli.benchmarking import benchmark_options, run_benchmark
from keras_deit.cli.evaluating import evaluate, evaluate_options
from keras_deit.cli.exporting import export, export_options
from keras_deit.cli.faces import faces, faces_options
from keras_deit.cli.predicting import attention, attention_options, predict, predict_options
from keras_deit.cli.reporting import report, report_options
from keras_deit.cli.searching import index, index_options, search, search_options
from keras_deit.cli.seeds import compare, compare_options, seed_options
from keras_deit.cli.studying import run_study_command, study_options
from keras_deit.cli.translating import translate, translate_options
from keras_deit.core.errors import InputError
from keras_deit.core.files import check_output_file, user_path
from keras_deit.core.startup import STARTED
from keras_deit.evaluation import final_report, prune, train_seeds, train_with_report
from keras_deit.models import get_spec, list_models, model_table
from keras_deit.planning import advice, plan_options, plan_report, plan_training
from keras_deit.pretrained.conversion import OUTPUTS, model_from, save_model
from keras_deit.recipes import (
    CONVNET_RECIPES,
    Option,
    convnet_recipe_table,
    get_recipe,
    list_recipes,
    recipe_table,
)
from keras_deit.recipes.options import model_options
from keras_deit.training import (
    label_views,
    labeling_options,
    make_job,
    pruning_options,
    teacher_training_options,
    train_teacher,
    training_options,
)

# The table of the models in a Markdown file.
_TABLE = re.compile(r"(<!-- models -->\n).*?(<!-- /models -->)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        summary: what it does, for the list of commands.
        example: how it is called, without `keras-deit`.
        options: returns its options, after the user's files are imported.
        run: does it, with the values that are given and the defaults of the others.
        arguments: name of the arguments that are no flags; None if the command has none.
        needs_arguments: whether some of them are needed.
        takes_imports: whether `run` gets the files of --import too, as `imports`, because it starts
            other processes.
    """

    summary: str
    example: str
    options: Callable[[], list[Option]]
    run: Callable[[dict], None]
    arguments: str | None = None
    needs_arguments: bool = True
    takes_imports: bool = False


def _train_options() -> list[Option]:
    plan = Option("plan", bool, "Only print what the training would take, like keras-deit plan.")
    # Without a default, because a seed that is given together with --seeds is refused.
    options = [
        dataclasses.replace(option, default=None) if option.name == "seed" else option
        for option in training_options()
    ]
    return [*options, *seed_options(), plan, *plan_options()]


def _train(values: dict) -> None:
    imports, plans = values.pop("imports"), values.pop("plan", False)
    if plans and "seeds" in values:
        raise InputError("--plan is of one training; leave --seeds out.")
    if plans:
        _plan(values)
        return
    for option in plan_options():
        if option.name in values:
            raise InputError(f"--{option.name} needs --plan.")
    if "seeds" in values:
        train_seeds(**values, imports=imports)
        return
    if "parallel_seeds" in values:
        raise InputError("--parallel_seeds needs --seeds.")
    run = train_with_report(make_job(**values), values.get("run_dir"), start=STARTED)
    print(final_report(run))


def _plan(values: dict) -> None:
    plan = plan_training(**values)
    print(plan_report(plan))
    if plan.fits is False:
        raise InputError(advice(plan))


def _train_teacher(values: dict) -> None:
    scores = train_teacher(**values)
    print(f"Top-1: {', '.join(f'{split} {top1:.4f}' for split, top1 in scores.items())}.")
    print(f"Kept in {values['output']}; use it with --teacher {values['output']}.")


def _convert_options() -> list[Option]:
    return [
        Option("model", str, "Name of the model; .keras files and runs say it themselves."),
        Option(
            "weights",
            str,
            "File of any format, hf://OWNER/NAME, or a run directory; #ema for its average.",
            required=True,
        ),
        Option(
            "output",
            str,
            f"File to write: {', '.join(OUTPUTS)} (in timm's layout).",
            required=True,
        ),
        Option("num_classes", int, "Number of classes; by default that of the file."),
        Option("overwrite", bool, "Whether to replace the output."),
        *model_options(),
    ]


def _convert(values: dict) -> None:
    weights, name = values.pop("weights"), values.pop("model", None)
    output = user_path(values.pop("output"))
    if not output.name.endswith(OUTPUTS):
        raise InputError(f"--output should end in {', '.join(OUTPUTS)}. Received: {str(output)!r}")
    check_output_file(output, values.pop("overwrite", False))
    model = model_from(weights, name, **values)
    if name not in (None, model.name):
        raise InputError(f"{weights} holds a {model.name}, not a {name}.")
    save_model(model, output)
    height, width = model.image_format.height, model.image_format.width
    print(
        f"{model.name} for images of {height}×{width}, {model.num_classes} classes: "
        f"{len(model.weights)} weights, {model.count_params():,} parameters.\n"
        f"{output}, {output.stat().st_size / 1e6:.1f} MB."
    )


def _models_options() -> list[Option]:
    return [
        Option("pattern", str, "Pattern of the names, as in a shell.", default="*"),
        Option("image_size", int, "Only models of this size, in pixels."),
        Option("max_parameters", float, "Only models with no more parameters."),
        Option("pretrained", bool, "Only models with released weights, or only those without."),
        Option(
            "into", str, "Markdown file to write the table into, between its <!-- models --> lines."
        ),
    ]


def _models(values: dict) -> None:
    into = values.pop("into", None)
    names = list_models(values.pop("pattern"), **values)
    if not names:
        raise InputError("No model is like that.")
    table = model_table(names)
    if into is None:
        print(table)
        return
    path = user_path(into)
    text = path.read_text("utf-8") if path.is_file() else ""
    if not _TABLE.search(text):
        raise InputError(f"{path} has no lines <!-- models --> and <!-- /models -->.")
    path.write_text(_TABLE.sub(lambda found: found[1] + table + "\n" + found[2], text), "utf-8")


def _recipes_options() -> list[Option]:
    return [
        Option("recipe", str, "Print every value of this recipe."),
        Option("model", str, "Print the values for this model."),
    ]


def _recipes(values: dict) -> None:
    name, model = values.get("recipe"), values.get("model")
    if name is None:
        if model is not None:
            raise InputError("--model needs --recipe: it shows a recipe's values for a model.")
        for recipe in map(get_recipe, list_recipes()):
            print(f"{recipe.name:28} {recipe.expected}\n{'':28} {recipe.about.source}")
        print("\nof convnet teachers, for train-teacher --recipe:")
        for recipe in CONVNET_RECIPES.values():
            print(f"{recipe.name:28} {recipe.expected}\n{'':28} {recipe.source}")
        return
    if name in CONVNET_RECIPES and model is None:
        print(convnet_recipe_table(CONVNET_RECIPES[name]))
        return
    recipe = get_recipe(name)
    print(recipe_table(recipe if model is None else recipe.for_model(get_spec(model).name)))


COMMANDS = {
    "train": Command(
        "Train a model; the same command resumes a training that was stopped.",
        "train --dataset folder:PATH --run_dir runs/mine",
        _train_options,
        _train,
        takes_imports=True,
    ),
    "evaluate": Command(
        "Evaluate a run or weights: accuracy, calibration, agreement with the teacher.",
        "evaluate --run_dir runs/mine --split validation",
        evaluate_options,
        evaluate,
    ),
    "report": Command(
        "Write the page report.html of a finished run, which every training writes at its end.",
        "report --run_dir runs/mine --compare runs/other runs/third",
        report_options,
        report,
    ),
    "compare": Command(
        "Say which differences between recipes are within the noise of their seeds.",
        "compare runs/long runs/short",
        compare_options,
        compare,
        "studies",
    ),
    "faces": Command(
        "Crop the faces of videos in class folders, for --dataset folder:FACES.",
        "faces videos/ --out faces/ --frames 30",
        faces_options,
        faces,
        "folder",
    ),
    "predict": Command(
        "Print the labels of images, with their probabilities.",
        "predict --run_dir runs/mine photo.jpg folder/ --top_k 3",
        predict_options,
        predict,
        "images",
    ),
    "attention": Command(
        "Write pictures of where a model looks in images.",
        "attention --run_dir runs/mine photo.jpg --kind rollout",
        attention_options,
        attention,
        "images",
    ),
    "index": Command(
        "Embed the images of a folder, for a search by image.",
        "index --run_dir runs/mine folder/ --output images.index.npz",
        index_options,
        index,
        "folder",
    ),
    "search": Command(
        "Print the images of an index that look most like an image, and write a page with them.",
        "search photo.jpg --index images.index.npz --top_k 10",
        search_options,
        search,
        "images",
    ),
    "export": Command(
        "Write a model as a SavedModel for TF Serving, or as ONNX, LiteRT, OpenVINO.",
        "export --run_dir runs/mine --format tf_saved_model,onnx --quantize int8",
        export_options,
        export,
    ),
    "convert": Command(
        "Convert weights to .keras, .weights.h5 or .safetensors; --image_size resizes positions.",
        "convert --model NAME --weights FILE.pth --output mine.safetensors",
        _convert_options,
        _convert,
    ),
    "label": Command(
        "Store what a teacher says about every view of a training, for --teacher replay:DIR.",
        "label --dataset folder:PATH --teacher teacher.keras --output labels/",
        labeling_options,
        lambda values: label_views(**values) and None,
    ),
    "prune": Command(
        "Remove what a model needs least by learned gates, fine-tune it, and say what it gains.",
        "prune --run_dir runs/mine --rate 0.2 0.4 --distillation soft",
        pruning_options,
        lambda values: prune(**values) and None,
    ),
    "translate": Command(
        "Train a translation from pairs of texts, and translate texts by it.",
        'translate --run_dir runs/names "South Africa" Albanian',
        translate_options,
        translate,
        "texts",
        needs_arguments=False,
    ),
    "benchmark": Command(
        "Measure the speed of models beside timm and KerasHub, in turns.",
        "benchmark --models NAME --mode train --peers timm keras_hub --output benchmarks/",
        benchmark_options,
        run_benchmark,
    ),
    "models": Command(
        "List models: size, parameters, multiply-adds, published top-1, released weights.",
        'models --pattern "*small*" --image_size 384 --pretrained --max_parameters 30e6',
        _models_options,
        _models,
    ),
    "recipes": Command(
        "List recipes, or print every value of one.",
        "recipes --recipe NAME --model NAME",
        _recipes_options,
        _recipes,
    ),
    "augreg": Command(
        "Say which of AugReg's released checkpoints fits, from the authors' index.csv.",
        "augreg index.csv --train_images 2000 --max_parameters 30e6",
        augreg_options,
        augreg,
        "index",
    ),
    "plan": Command(
        "Print what a training would take: parameters, steps, memory of each device.",
        "plan --model NAME --recipe NAME --plan_examples 1281167 --plan_classes 1000",
        lambda: [*training_options(), *plan_options()],
        _plan,
    ),
    "study": Command(
        "Run a study of a published table, with seeds and verdicts; study list names them.",
        "study distillation --seeds 0:5 --output_dir runs/distillation",
        study_options,
        run_study_command,
        "study",
        takes_imports=True,
    ),
    "train-teacher": Command(
        "Train or fine-tune a teacher, and keep it for --teacher FILE.",
        "train-teacher --teacher kerascv:resnet18_v2 --output teacher.keras",
        teacher_training_options,
        _train_teacher,
    ),
}
