"""The optimiser of a recipe."""

import keras

from keras_deit.distillation.execution import summed_replicas
from keras_deit.errors import InputError
from keras_deit.recipes import Optimisation
from keras_deit.training.optimisation.adamw import AdamW
from keras_deit.training.optimisation.grouped import GroupedOptimizer
from keras_deit.training.optimisation.groups import (
    learning_rate_factors,
    paths,
    undecayed_variables,
)
from keras_deit.training.optimisation.lamb import Lamb
from keras_deit.training.optimisation.schedules import EpochCosine, StepCosine
from keras_deit.training.optimisation.sgd import SGD


def learning_rate_schedule(
    optimisation: Optimisation, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """The recipe's schedule over steps.

    Raises:
        InputError: the training is over before its warm-up is.
    """
    ends = {"start": optimisation.warmup_learning_rate, "end": optimisation.min_learning_rate}
    peak, epochs = optimisation.peak_learning_rate, optimisation.epochs
    if optimisation.schedule == "epoch_cosine":
        return EpochCosine(peak, epochs, steps_per_epoch, optimisation.warmup_epochs, **ends)
    steps, warmup_steps = epochs * steps_per_epoch, optimisation.warmup_steps
    if warmup_steps is None:
        warmup_steps = round(optimisation.warmup_epochs * steps_per_epoch)
    if warmup_steps > steps:
        raise InputError(
            f"warmup_steps should be at most {steps}, the steps of the training. "
            f"Received: {warmup_steps}"
        )
    return StepCosine(peak, steps, warmup_steps, **ends)


def build_optimizer(
    model: keras.Model, optimisation: Optimisation, steps_per_epoch: int
) -> GroupedOptimizer:
    """The recipe's optimiser for a model's trainable variables, with its schedule and groups.

    Args:
        model: built.
        optimisation: of the recipe.
        steps_per_epoch: batches in an epoch, each of them `accumulation_steps` calls of `apply`.

    Raises:
        InputError: the model does not have the layers or the paths that the groups need, or
            gradients cannot be accumulated on these devices.
    """
    values = {
        "learning_rate": learning_rate_schedule(optimisation, steps_per_epoch),
        "weight_decay": optimisation.weight_decay,
        "undecayed": paths(undecayed_variables(model), model),
        "global_clipnorm": optimisation.gradient_clip or None,
    }
    check_accumulation(optimisation, summed_replicas())
    if optimisation.accumulation_steps > 1:
        values["gradient_accumulation_steps"] = optimisation.accumulation_steps
    if optimisation.layer_decay != 1:
        values["learning_rate_factors"] = learning_rate_factors(model, optimisation.layer_decay)
    if optimisation.optimizer == "sgd":
        return SGD(momentum=optimisation.momentum, **values)
    kind = {"adamw": AdamW, "lamb": Lamb}[optimisation.optimizer]
    return kind(epsilon=optimisation.adam_epsilon, **values)


def check_accumulation(optimisation: Optimisation, replicas: int) -> None:
    """Makes sure that gradients can be accumulated.

    Args:
        optimisation: of the recipe.
        replicas: of a `tf.distribute` strategy.

    Raises:
        InputError: they are to be, and cannot.
    """
    # Keras branches where tf.distribute's replicas meet, and TensorFlow refuses.
    if optimisation.accumulation_steps > 1 and replicas > 1:
        raise InputError(
            "accumulation_steps above 1 does not work with TensorFlow's --strategy mirrored and "
            "tpu; it does with --strategy none, and on JAX with every strategy."
        )
