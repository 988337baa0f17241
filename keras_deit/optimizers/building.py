"""The optimizer of a recipe."""

import keras

from keras_deit.core.errors import InputError
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.optimizers.adamw import Adam, AdamW, Lamb
from keras_deit.optimizers.grouped import GroupedOptimizer
from keras_deit.optimizers.param_groups import (
    learning_rate_factors,
    no_weight_decay_variables,
    unique_paths,
)
from keras_deit.optimizers.schedules import AdjustableCosine, EpochCosine, StepCosine, StepDecay
from keras_deit.optimizers.settings import Optimization
from keras_deit.optimizers.sgd import SGD


def learning_rate_schedule(
    optimization: Optimization, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning rate schedule of a recipe, a function of the step.

    Args:
        optimization: settings of the recipe.
        steps_per_epoch: number of batches in an epoch.

    Raises:
        InputError: the training is shorter than its warm-up.
    """
    ends = {"start": optimization.warmup_learning_rate, "end": optimization.min_learning_rate}
    peak, epochs = optimization.peak_learning_rate, optimization.epochs
    if optimization.schedule == "epoch_cosine":
        return EpochCosine(peak, epochs, steps_per_epoch, optimization.warmup_epochs, **ends)
    steps, warmup_steps = epochs * steps_per_epoch, optimization.warmup_steps
    if warmup_steps is None:
        warmup_steps = round(optimization.warmup_epochs * steps_per_epoch)
    if warmup_steps > steps:
        raise InputError(
            f"warmup_steps should be at most {steps}, the steps of the training. "
            f"Received: {warmup_steps}"
        )
    if optimization.schedule == "step":
        decay_steps = max(round(optimization.decay_epochs * steps_per_epoch), 1)
        return StepDecay(peak, decay_steps, optimization.decay_factor, warmup_steps, **ends)
    return StepCosine(peak, steps, warmup_steps, **ends)


def build_optimizer(
    model: keras.Model,
    optimization: Optimization,
    steps_per_epoch: int,
    adjustable: bool = False,
) -> GroupedOptimizer:
    """Builds the recipe's optimizer for a model's trainable variables.

    Args:
        model: built model.
        optimization: settings of the recipe.
        steps_per_epoch: number of batches in an epoch, each of them `accumulation_steps` calls of
            `apply`.
        adjustable: whether the lengths of the schedule, a "cosine", can be set later with
            `set_schedule`.

    Raises:
        InputError: the model lacks what the groups need, or gradients cannot be accumulated on
            these devices.
    """
    check_accumulation(optimization, num_replicas_in_sync())
    schedule = learning_rate_schedule(optimization, steps_per_epoch)
    if adjustable:
        schedule = AdjustableCosine(**schedule.get_config())
    values = {
        "learning_rate": schedule,
        "weight_decay": optimization.weight_decay,
        "no_weight_decay": _without_weight_decay(model, optimization),
        "global_clipnorm": optimization.gradient_clip or None,
    }
    if optimization.clip_each:
        values["clipnorm"], values["global_clipnorm"] = values["global_clipnorm"], None
    if optimization.final_weight_decay is not None:
        values["final_weight_decay"] = optimization.final_weight_decay
        values["total_steps"] = optimization.epochs * steps_per_epoch
    if optimization.accumulation_steps > 1:
        values["gradient_accumulation_steps"] = optimization.accumulation_steps
    if optimization.layer_decay != 1:
        values["learning_rate_factors"] = learning_rate_factors(model, optimization.layer_decay)
    if optimization.optimizer == "sgd":
        return SGD(momentum=optimization.momentum, nesterov=optimization.nesterov, **values)
    optimizer_class = {"adamw": AdamW, "adam": Adam, "lamb": Lamb}[optimization.optimizer]
    return optimizer_class(epsilon=optimization.adam_epsilon, **values)


def _without_weight_decay(model: keras.Model, optimization: Optimization) -> list[str]:
    if optimization.weight_decay_on == "all":
        return []
    return unique_paths(no_weight_decay_variables(model), model)


def check_accumulation(optimization: Optimization, replicas: int) -> None:
    """Checks that gradients can be accumulated, if the settings ask for it.

    Args:
        optimization: settings of the recipe.
        replicas: number of replicas of a `tf.distribute` strategy.

    Raises:
        InputError: they cannot.
    """
    # With accumulation Keras sums the gradients of the replicas inside a conditional branch, which
    # TensorFlow refuses.
    if optimization.accumulation_steps > 1 and replicas > 1:
        raise InputError(
            "accumulation_steps above 1 does not work with TensorFlow's --strategy mirrored and "
            "tpu. It works with --strategy none, and on JAX with every strategy."
        )
