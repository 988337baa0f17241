"""A plan in words."""

import dataclasses

from keras_deit.core.names import printable
from keras_deit.planning.plan import Plan

_ROWS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "ema": "moving average (EMA)",
    "batches": "images and targets",
    "teacher": "teacher's weights",
    "activations": "activations",
    "copies": "weights, lower precision",
    "teacher_activations": "teacher's activations",
    "loss": "loss, target network",
}
_ESTIMATED = ("activations", "copies", "teacher_activations", "loss")


def plan_report(plan: Plan) -> str:
    """Returns the plan as lines of text; estimates are marked as such."""
    rows = {**_training(plan), **_memory(plan)}
    notes = [("", note) for note in (*plan.job.recipe.about.reasons, *plan.dataset.notes)]
    return "\n".join(f"{name:26} {value}" for name, value in [*rows.items(), *notes])


def advice(plan: Plan) -> str:
    """Returns why a plan does not fit and what would help, as one line."""
    options = []
    micro_batches = plan.accumulation_steps_that_fit()
    if micro_batches is not None:
        options.append(f"--accumulation_steps {micro_batches}")
    if not plan.job.activation_checkpointing:
        options.append("--activation_checkpointing")
    if plan.job.mixed_precision == "float32":
        options.append("--mixed_precision bfloat16")
    options.append(
        "more devices (--strategy data_parallel, or model_parallel to split the weights)"
    )
    return (
        f"This does not fit: each device needs about {_size(plan.memory.total)} and has "
        f"{_size(plan.device_bytes)}. What would help: {'; '.join(options)}."
    )


def _training(plan: Plan) -> dict[str, str]:
    recipe, optimization = plan.job.recipe, plan.job.recipe.optimization
    count = optimization.accumulation_steps
    split = f", {plan.shards} devices to a copy of the model" if plan.shards > 1 else ""
    held_out = f", {plan.dataset.held_out}" if plan.dataset.held_out else ""
    accumulated = f" in {count} micro-batches" if count > 1 else ""
    return {
        "plan": "nothing is built, prepared or trained",
        "model": f"{recipe.model} ({recipe.name} recipe), {plan.job.mixed_precision}",
        "parameters": plan.parameters,
        "data": f"{printable(plan.dataset.name)}: {plan.dataset.examples:,} training images, "
        f"{plan.dataset.classes:,} classes{held_out}",
        "teacher": _teacher(plan),
        "images per step": f"{optimization.batch_size} on {plan.devices} device(s)"
        f"{split}{accumulated}: {plan.images} at once",
        "steps": f"{plan.steps:,} ({optimization.epochs} epochs of {plan.steps_per_epoch:,})",
        "checkpoint": _size(plan.checkpoint),
    }


def _teacher(plan: Plan) -> str:
    request = plan.job.recipe.objective.teacher_request
    if request is None:
        return "none"
    trained = ", trained first if it is not kept already" if plan.trains_teacher else ""
    name = request.name
    if plan.teacher_parameters is None:
        return f"{name}, its stored labels"
    if plan.teacher_parameters == 0:
        return f"{name}, in its own runtime on the host"
    return f"{name}, {plan.teacher_parameters:,} parameters{trained}"


def _memory(plan: Plan) -> dict[str, str]:
    values = dataclasses.asdict(plan.memory)
    rows = {"memory of each device": ""}
    for field, name in _ROWS.items():
        if values[field]:
            estimated = "  (estimate)" if field in _ESTIMATED else ""
            rows[f"  {name}"] = f"{_size(values[field]):>10}{estimated}"
    rows["  together"] = (
        f"{_size(plan.memory.total):>10}  (estimate, without what the backend reserves for itself)"
    )
    device = "unknown: give --device_memory_gb"
    if plan.device_bytes is not None:
        fits = "fits" if plan.fits else "DOES NOT FIT"
        device = f"{_size(plan.device_bytes):>10}  {plan.device_source}: {fits}"
    return {**rows, "  the device has": device}


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.2f} {unit}"
    return f"{count / 1e3:.1f} kB"
