"""One way to fit a model, for students and teachers alike."""

import pathlib
import warnings

import keras

from keras_deit.recipes import Optimisation
from keras_deit.training.callbacks import FiniteLoss, LearningRate, Progress, StepTimer


def fit(
    model: keras.Model,
    title: str,
    data,
    optimisation: Optimisation,
    steps_per_epoch: int,
    validation_data=None,
    validation_epochs: list[int] | int = 1,
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
    kept: pathlib.Path | None = None,
) -> StepTimer:
    """Fits a compiled model with a progress bar and a watch on the loss.

    Args:
        model: compiled.
        title: of the progress bar.
        data: endless batches.
        optimisation: for the number of epochs.
        steps_per_epoch: batches in an epoch.
        validation_data: one pass of batches.
        validation_epochs: after which epochs to validate, counted from 1, or from one to the next.
        callbacks: further ones.
        kept: where `callbacks` keep the last good weights, for the error's message.

    Returns:
        The times of the steps.

    Raises:
        InputError: the loss stopped being finite.
    """
    progress = Progress(title, optimisation.epochs * steps_per_epoch)
    timer = StepTimer()
    watch = FiniteLoss(str(kept or ""))
    try:
        with warnings.catch_warnings():
            # Grain does not tell Keras how long a pass over the validation data is.
            warnings.filterwarnings("ignore", message="Your input ran out of data")
            model.fit(
                data,
                epochs=optimisation.epochs,
                steps_per_epoch=steps_per_epoch,
                validation_data=validation_data,
                validation_freq=validation_epochs,
                callbacks=[timer, watch, LearningRate(), progress, *callbacks],
                shuffle=False,
                verbose=0,
            )
    finally:
        progress.close()
    return timer
