"""The optimiser of a recipe."""

import keras

from keras_deit.recipes import Optimisation


def undecayed_variables(model: keras.Model) -> list[keras.Variable]:
    """The trainable variables that the authors spare from weight decay.

    They are those of rank 1 or less (biases, norms, LayerScale), every bias, and those that the
    model lists as `undecayed`: positions and class token. The distillation token decays, as it
    did in the published training.
    """
    listed = {id(variable) for variable in getattr(model, "undecayed", ())}
    return [
        variable
        for variable in model.trainable_variables
        if len(variable.shape) <= 1 or variable.name == "bias" or id(variable) in listed
    ]


def learning_rate_schedule(
    optimisation: Optimisation, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to the peak, then half a cosine to the minimum, changing at every step."""
    total = optimisation.epochs * steps_per_epoch
    warmup = round(optimisation.warmup_epochs * steps_per_epoch)
    peak = optimisation.peak_learning_rate
    alpha = optimisation.min_learning_rate / peak
    decay = max(total - warmup, 1)
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(peak, decay, alpha)
    return keras.optimizers.schedules.CosineDecay(
        optimisation.warmup_learning_rate,
        decay,
        alpha,
        warmup_target=peak,
        warmup_steps=warmup,
    )


def build_optimizer(
    model: keras.Model, optimisation: Optimisation, steps_per_epoch: int
) -> keras.optimizers.AdamW:
    """AdamW with the recipe's schedule, decaying what the authors decay."""
    optimizer = keras.optimizers.AdamW(
        learning_rate_schedule(optimisation, steps_per_epoch),
        weight_decay=optimisation.weight_decay,
        epsilon=optimisation.adam_epsilon,
    )
    optimizer.exclude_from_weight_decay(var_list=undecayed_variables(model))
    return optimizer
