"""What a pruning consists of: the training of the gates, and a fine-tuning for each rate.

"Vision Transformer Pruning" (Zhu et al., 2021).
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, user_path
from keras_deit.data import Augmentation
from keras_deit.models import abstract_model, get_spec, model_values
from keras_deit.models.pruning import check_prunable, kept_count
from keras_deit.objectives import Distillation, Sparsity, Supervised
from keras_deit.optimizers import Optimization
from keras_deit.pretrained.own_weights import RUN_WEIGHTS
from keras_deit.pretrained.sources import find_weights
from keras_deit.recipes import Option, Recipe, apply_options
from keras_deit.recipes.option_kinds import checked_values
from keras_deit.recipes.options import pruning_recipe
from keras_deit.recipes.recipe import About
from keras_deit.training.identity import objective_from
from keras_deit.training.job import Job
from keras_deit.training.options import DEFAULT_DATASET, make_job, training_options, with_job_values
from keras_deit.training.run import Run, load_run

# What came out, by rate, in the directory of a pruning.
PRUNING_FILE = "pruning.json"
# Published: 5e-5 for 512 images in a step, where DeiT is trained with 5e-4, and 100 epochs, where
# DeiT has 300.
_SHARE_OF_LEARNING_RATE = 0.1
_SHARE_OF_LENGTH = 1 / 3
# What the two phases set themselves, or what is of no use to them.
_NOT_OPTIONS = (
    *("objective", "epochs", "steps", "minutes", "extend", "gates", "run_dir", "weights"),
    *("validate_agreement", "fine_tunes", "head_bias", "monitor"),
)
_OF_DISTILLATION = ("distillation", "alpha", "temperature")
# What a run says itself.
_OF_NO_RUN = ("model", "recipe")


@dataclasses.dataclass(frozen=True)
class Pruning:
    """What a pruning does.

    Attributes:
        job: data and recipe of the training of the model that is pruned.
        weights: where its weights are.
        folder: directory of the result.
        rates: shares of the gates to remove, one after the other.
        gate_length, finetune_length: lengths of the two phases: {"epochs": N} or {"steps": N}.
        l1: λ of the training of the gates.
        equal_heads: as for `choose`.
        distillation: values of the `Distillation` of the fine-tuning; empty for the labels alone.
        class_names: the names of the classes that a run was trained on; empty if nothing says them.
    """

    job: Job
    weights: str
    folder: pathlib.Path
    rates: tuple[float, ...]
    gate_length: dict[str, int]
    finetune_length: dict[str, int]
    l1: float
    equal_heads: bool = True
    distillation: dict = dataclasses.field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    @property
    def gate_folder(self) -> pathlib.Path:
        """The run that trains the gates."""
        return self.folder / "gates"

    @property
    def teacher_file(self) -> pathlib.Path:
        """The model that is pruned, as the teacher of the fine-tuning."""
        return self.folder / "unpruned.keras"

    @property
    def result_file(self) -> pathlib.Path:
        """What came out, by rate."""
        return self.folder / PRUNING_FILE

    def folder_of(self, rate: float) -> pathlib.Path:
        """Returns the run that fine-tunes the model pruned at a rate."""
        return self.folder / f"rate{rate:g}"

    def weights_of(self, rate: float) -> pathlib.Path:
        """Returns the file of the model that is pruned at a rate, before its fine-tuning."""
        return self.folder / f"rate{rate:g}.weights.h5"

    def gate_job(self) -> Job:
        """Returns the training of the gates together with the weights."""
        objective = Sparsity(**_label_loss(self.job.recipe), l1=self.l1)
        return self._phase(self.gate_length, self.weights, objective, {"gates": True})

    def finetuning_job(self, rate: float, kept: Sequence[dict]) -> Job:
        """Returns the fine-tuning of the model that is pruned at a rate.

        Args:
            rate: the rate.
            kept: the channels that the model has kept.
        """
        values = _label_loss(self.job.recipe)
        objective = Supervised(**values)
        if self.distillation:
            teacher = {**self.distillation, "teacher": str(self.teacher_file)}
            objective = Distillation(loss=values["loss"], **teacher)
        return self._phase(
            self.finetune_length, str(self.weights_of(rate)), objective, {"kept": list(kept)}
        )

    def _phase(self, length: dict[str, int], weights: str, objective, values: dict) -> Job:
        recipe = self.job.recipe
        recipe = dataclasses.replace(
            apply_options(dataclasses.replace(recipe, objective=objective), length),
            model_values={**recipe.model_values, **values},
            weights=weights,
            fine_tunes=False,
            head_bias=None,
            monitor=None,
        )
        return dataclasses.replace(self.job, recipe=recipe, monitor=None)


def _label_loss(recipe: Recipe) -> dict:
    values = recipe.objective.values
    return {"loss": values.get("loss", "cross_entropy")} | {
        name: values[name] for name in ("target_smoothing",) if name in values
    }


def pruning_options() -> list[Option]:
    """Returns all options of a pruning."""
    whose = "Directory of the finished run to prune; its data and recipe are those of both phases."
    weights = (
        f"Of a run {', '.join(RUN_WEIGHTS)}; with --model a file of any format, hf://OWNER/NAME or "
        "a run."
    )
    length = "by default a third of the training's."
    own = [
        Option("run_dir", str, whose),
        Option("weights", str, weights),
        Option("rate", "texts", "Shares of the gates to remove, such as 0.2 0.4.", required=True),
        Option("output", str, "Directory of the result; by default beside the run or below runs/."),
        Option("gate_epochs", int, f"Epochs with gates and L1; {length}", minimum=1),
        Option("finetune_epochs", int, f"Epochs after the pruning; {length}", minimum=1),
        Option(
            "equal_heads",
            bool,
            "Whether all heads of an attention keep equally many outputs, which makes its values "
            "narrower; otherwise each gate counts by itself.",
            default=True,
        ),
    ]
    training = [
        # What is not given is that of the run.
        dataclasses.replace(option, default=None, required=False)
        for option in training_options()
        if option.name not in _NOT_OPTIONS and not option.name.startswith("teacher")
    ]
    return [*own, *training]


def make_pruning(**given) -> Pruning:
    """Returns the pruning that some options describe.

    Args:
        **given: by the name of the option, see `pruning_options`.

    Raises:
        InputError: there is no such option, a value is out of range, the run or the weights are not
            there, the model has no gates, or a rate would leave nothing of a layer.
    """
    given = {name: value for name, value in given.items() if value is not None}
    rates = _rates(given.pop("rate", ()))
    given = checked_values(given, [o for o in pruning_options() if o.name != "rate"])
    own = {name: given.pop(name, None) for name in ("gate_epochs", "finetune_epochs", "output")}
    equal_heads, l1 = given.pop("equal_heads", True), given.pop("l1", Sparsity.defaults()["l1"])
    distillation = {name: given.pop(name) for name in _OF_DISTILLATION if name in given}
    kind = distillation.pop("distillation", "none")
    if kind == "none" and distillation:
        raise InputError(f"--{next(iter(distillation))} needs --distillation hard or soft.")
    run = load_run(given.pop("run_dir")) if "run_dir" in given else None
    job, weights, default_folder = _of_run(run, given) if run else _of_model(given)
    recipe = job.recipe
    if "learning_rate" not in given:
        recipe = dataclasses.replace(recipe, optimization=_slower(recipe.optimization))
    length = _length(recipe.optimization, run)
    lengths = {
        phase: {"epochs": own[f"{phase}_epochs"]} if own[f"{phase}_epochs"] else length
        for phase in ("gate", "finetune")
    }
    pruning = Pruning(
        dataclasses.replace(job, recipe=recipe),
        weights,
        user_path(own["output"] or default_folder),
        rates,
        lengths["gate"],
        lengths["finetune"],
        l1,
        equal_heads,
        {"kind": kind, **distillation} if kind != "none" else {},
        () if run is None else tuple(run.config["class_names"]),
    )
    _check(pruning)
    return pruning


def _length(optimization: Optimization, run: Run | None) -> dict[str, int]:
    """Returns the length of a phase, in steps where that of the training is."""
    steps = optimization.steps
    summary = None if run is None else run.summary
    if summary and (steps is not None or run.config["run"].get("minutes") is not None):
        # With minutes it has as many as have fit into them.
        steps = summary.get("steps", steps)
    unit, whole = ("epochs", optimization.epochs) if steps is None else ("steps", steps)
    return {unit: max(1, round(whole * _SHARE_OF_LENGTH))}


def _rates(given) -> tuple[float, ...]:
    values = given if isinstance(given, (list, tuple)) else [given]
    try:
        rates = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise InputError(f"rate should be one number or several. Received: {given!r}") from None
    if not rates:
        raise InputError("rate is required: the shares of the gates to remove.")
    return tuple(dict.fromkeys(rates))


def _check(pruning: Pruning) -> None:
    """Checks model, rates, weights and directory, before anything takes long."""
    recipe = pruning.job.recipe
    check_prunable(get_spec(recipe.model).family, model_values(recipe.model))
    abstract = abstract_model(recipe.model, **{**recipe.model_values, "gates": True})
    for rate in pruning.rates:
        kept_count(abstract, rate, pruning.equal_heads)
    pruning.gate_job()
    find_weights(pruning.weights)
    check_writable(pruning.result_file)


def _slower(optimization: Optimization) -> Optimization:
    names = ("learning_rate", "warmup_learning_rate", "min_learning_rate")
    share = _SHARE_OF_LEARNING_RATE
    return dataclasses.replace(
        optimization, **{name: share * getattr(optimization, name) for name in names}
    )


def _of_model(given: dict) -> tuple[Job, str, str]:
    """Returns job, weights and default directory for weights that are of no run."""
    for name in ("model", "weights"):
        if name not in given:
            raise InputError("Give --run_dir, or --model and --weights: what to prune.")
    weights = given.pop("weights")
    recipe = pruning_recipe(given.get("dataset", DEFAULT_DATASET))
    job = make_job(**{"recipe": recipe, **given})
    return job, weights, f"runs/{job.recipe.model}-pruned"


def _of_run(run: Run, given: dict) -> tuple[Job, str, str]:
    """Returns the same for a run."""
    for name in _OF_NO_RUN:
        if name in given:
            raise InputError(f"--{name} is for weights without a run; --run_dir is given.")
    kind = given.pop("weights", "final")
    if kind not in RUN_WEIGHTS:
        known = ", ".join(RUN_WEIGHTS)
        raise InputError(f"--weights of a run should be one of {known}. Received: {kind}")
    weights = str(run.path) if kind == "final" else f"{run.path}#{kind}"
    job = job_of_run(run)
    recipe = apply_options(job.recipe, given)
    job = with_job_values(dataclasses.replace(job, recipe=recipe), given)
    return job, weights, f"{run.path}-pruned"


def job_of_run(run: Run) -> Job:
    """Returns the job of a run, to train on the same data in the same way.

    Raises:
        InputError: its objective is one of the user's own that is not registered.
    """
    config = run.config
    identity = config["run"]
    recipe = Recipe(
        name=identity["recipe"],
        about=About(source=str(run.path), hardware=""),
        model=identity["model"],
        model_values=identity["model_values"],
        optimization=Optimization(**{"ema_warmup": False, **identity["optimization"]}),
        augmentation=Augmentation(**identity["augmentation"]),
        objective=objective_from(identity),
        evaluation_crop_ratio=config["crop_ratio"],
        evaluation_interpolation=config["interpolation"],
        validation_epochs=identity.get("validation_epochs", 1),
    )
    of_identity = ("test_share", "train_examples", "seed", "mixed_precision", "coarse")
    of_config = ("data_dir", "on_bad_image", "max_image_pixels", "exif_orientation")
    return Job(
        dataset=identity["dataset"],
        recipe=recipe,
        **{name: identity[name] for name in of_identity if name in identity},
        **{name: config[name] for name in of_config if name in config},
    )
