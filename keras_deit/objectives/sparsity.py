"""Training the gates of a model towards 0, from which pruning learns what to keep."""

from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.processes import num_replicas_in_sync
from keras_deit.layers.introspection import gate_variables
from keras_deit.objectives.objective import Batch, register_objective
from keras_deit.objectives.supervised import Supervised


@register_objective
class Sparsity(Supervised):
    """Trains a model with gates on the labels and towards few large gates, as in "Vision
    Transformer Pruning" (Zhu et al., 2021).

    loss = class loss + λ·Σ|gate|. It logs the figures of `Supervised`, and `gate_loss`, the second
    term.

    Args:
        loss, target_smoothing: as in `Supervised`.
        l1: weight λ of the sum of the absolute values of all gates, 0 or more; the paper's
            is 1e-4.
    """

    losses = ("class_loss", "gate_loss")

    def __init__(
        self, loss: str = "cross_entropy", target_smoothing: float = 0.0, l1: float = 1e-4
    ):
        super().__init__(loss, target_smoothing)
        if not l1 >= 0:
            raise InputError(f"l1 should be 0 or more. Received: {l1}")
        self.l1 = l1

    @property
    def label(self) -> str:
        return "sparsity"

    def build(self, model):
        super().build(model)
        self._gates = gate_variables(model)
        if not self._gates:
            raise InputError(
                f"The objective sparsity needs a model with gates. Received: {model.name}, which "
                "has none or was built without gates=True."
            )

    def compute_loss(self, batch: Batch, training: bool) -> dict:
        class_loss = super().compute_loss(batch, training)["class_loss"]
        total = sum(ops.sum(ops.abs(ops.cast(gate, "float32"))) for gate in self._gates)
        # Under tf.distribute the losses of all replicas are summed up.
        gate_loss = self.l1 * total / num_replicas_in_sync()
        return {"loss": class_loss + gate_loss, "class_loss": class_loss, "gate_loss": gate_loss}
