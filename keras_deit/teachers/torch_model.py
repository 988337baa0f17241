"""Models of timm, and other PyTorch modules, as they are, on the PyTorch backend."""

import hashlib
import importlib.util

import keras
import numpy as np

from keras_deit.core.errors import InputError, first_line
from keras_deit.core.files import user_path
from keras_deit.core.image_format import ImageFormat
from keras_deit.core.network import failing_quickly
from keras_deit.teachers.contract import TeacherContract

TIMM = "timm:"
# Instead of a file, the weights that were published with a model.
PUBLISHED = "imagenet"


@keras.saving.register_keras_serializable(package="keras_deit")
class TorchModel(keras.layers.Layer):
    """A frozen PyTorch module on the PyTorch backend, always in evaluation mode.

    Args:
        module: from images (batch, 3, height, width) to outputs (batch, classes).
        num_classes: number of its classes.
        source, weights: `timm:NAME` and the checkpoint of the module, with which it is loaded
            again; None for a module that cannot be saved.

    Input: images (batch, height, width, 3).
    Output: float32 (batch, classes).
    """

    def __init__(
        self,
        module,
        num_classes: int,
        source: str | None = None,
        weights: str | None = None,
        **kwargs,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs, trainable=False)
        self.num_classes = num_classes
        self.source = source
        self.weights_file = weights
        # As a part of this layer its parameters would be trained and saved with those of Keras.
        object.__setattr__(self, "_module", module.eval().requires_grad_(False))
        self.built = True

    @property
    def output_shape(self) -> tuple[None, int]:
        """The shape of its output, as of a Keras model."""
        return (None, self.num_classes)

    @property
    def device_bytes(self) -> int:
        """Memory of the backend's device that it holds."""
        return sum(x.numel() * x.element_size() for x in self._module.state_dict().values())

    def count_params(self) -> int:
        return sum(parameter.numel() for parameter in self._module.parameters())

    def digest(self) -> str:
        """Returns hexadecimal digits that identify its weights and statistics."""
        found = hashlib.sha256()
        for name, value in self._module.state_dict().items():
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
        return found.hexdigest()

    def call(self, images, training=False):
        import torch

        module = self._module.to(images.device)
        with torch.no_grad():
            return module(images.permute(0, 3, 1, 2))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_classes)

    def get_config(self):
        if self.source is None:
            raise InputError("A PyTorch module without a name in timm cannot be saved.")
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "source": self.source,
            "weights": self.weights_file,
        }

    @classmethod
    def from_config(cls, config):
        model, _ = load_timm(config["source"], config["num_classes"], config["weights"])
        return model


def check_timm(name: str) -> None:
    """Checks that timm can be used, without importing it.

    Raises:
        InputError: the backend is not PyTorch, or timm is not installed.
    """
    if keras.backend.backend() != "torch":
        raise InputError(
            f"Teacher {name} is a PyTorch model and runs on the PyTorch backend only: set "
            f"KERAS_BACKEND=torch. It is {keras.backend.backend()}."
        )
    if importlib.util.find_spec("timm") is None:
        raise InputError(f"Teacher {name} needs timm, which is not installed: pip install timm.")


def load_timm(
    name: str, num_classes: int, weights: str | None
) -> tuple[TorchModel, TeacherContract]:
    """Loads a model of timm.

    Args:
        name: `timm:NAME`, where NAME may have a tag, such as `regnety_160.deit_in1k`.
        num_classes: a number of classes that a checkpoint may have besides the published one.
        weights: a checkpoint; None or "imagenet" for the weights that timm publishes.

    Returns:
        The model, and the contract of its images and outputs, which is timm's.

    Raises:
        InputError: there is no such model or checkpoint, or it does not fit.
    """
    check_timm(name)
    weights = None if weights == PUBLISHED else weights
    try:
        import timm
    except Exception as error:  # torchvision of another version raises a RuntimeError
        raise InputError(f"Teacher {name} needs timm, which fails: {first_line(error)}") from error
    if weights is not None and not user_path(weights).is_file():
        raise InputError(f"Teacher {name}: there is no weights file {weights!r}.")
    model = name.removeprefix(TIMM)
    try:
        if weights is None:
            with failing_quickly():
                module = timm.create_model(model, pretrained=True)
        else:
            module = _with_checkpoint(timm, model, str(user_path(weights)), num_classes)
    except Exception as error:  # of timm, the hub or PyTorch
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"Teacher {name} cannot be loaded: {reason}") from error
    config = module.pretrained_cfg
    _, height, width = config["input_size"]
    image_format = ImageFormat(height, width, tuple(config["mean"]), tuple(config["std"]))
    layer = TorchModel(module, module.num_classes, name, weights)
    return layer, TeacherContract(image_format, "logits", module.num_classes)


def _with_checkpoint(timm, name: str, path: str, num_classes: int):
    """Returns a model with a checkpoint of its published number of classes, or of another one."""
    try:
        return timm.create_model(name, checkpoint_path=path)
    except RuntimeError:  # "size mismatch for ..."
        if not num_classes:
            raise
        return timm.create_model(name, checkpoint_path=path, num_classes=num_classes)
