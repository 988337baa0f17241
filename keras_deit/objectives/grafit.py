"""Grafit: fine-grained embeddings from coarse labels."""

import math
from typing import TYPE_CHECKING, Literal

import keras
import numpy as np
from keras import ops

from keras_deit.core.errors import InputError
from keras_deit.core.processes import (
    gathered_from_replicas,
    mean_over_replicas,
    num_replicas_in_sync,
)
from keras_deit.layers.tracing import largest_call
from keras_deit.losses import label_loss
from keras_deit.objectives.memory import Memory
from keras_deit.objectives.objective import (
    Batch,
    Features,
    Objective,
    decisions,
    fused_logits,
    hits,
    register_objective,
)
from keras_deit.objectives.retrieval import (
    SIGMA,
    coarse_probabilities,
    conditional_bonus,
    knn_top1,
    mean_average_precision,
)
from keras_deit.objectives.target_network import TargetNetwork

if TYPE_CHECKING:
    from keras_deit.data import Augmentation

_MIXING = ("mixup_alpha", "cutmix_alpha")


@register_objective
class Grafit(Objective):
    """Learns embeddings that tell fine classes apart from coarse labels.

    "Grafit: Learning fine-grained image representations with coarse labels" (Touvron et al., 2021).
    The loss is λ_knn·L_knn + λ_inst·L_inst + λ_ce·L_ce:

    - The neighborhood loss is −log of the probability that the nearest image of the training set
      has the label of the image; the probability of image j is ∝ exp(cos(g(x), m_j) / σ), and the
      image itself is left out. m_j is the embedding of image j in a memory, which is a part of the
      checkpoint: when image j is in a batch, m_j becomes the mean of m_j and the new embedding,
      scaled to length 1 (§3.1).
    - The instance loss is −1 times the mean cosine between what the predictor makes of one view and
      what the target, an average of trunk and projector, makes of another one (§3.2).
    - The cross-entropy of the heads is that of a classifier. Cross-entropy alone, the neighborhood
      loss alone (SNCA+) and cross-entropy with the instance loss are baselines.

    The neighborhood loss and the cross-entropy see the first view. Besides the losses it logs the
    `accuracy` of the heads if they are trained. A validation computes `knn_top1` for the labels of
    the training and, if the data has two levels of labels, for the fine ones. The final scores also
    have the mean average precision of rankings (see `keras_deit.objectives.retrieval`), for which
    all training images are sorted for each query.

    Args:
        projector: layers between the pooled features and the embeddings: "none", "linear", or "mlp"
            for Dense, batch normalization, ReLU and Dense.
        projection_dim: width of the embeddings, if there is a projector.
        projection_hidden_dim: width of the hidden layer of the projector "mlp" and the predictor.
        augmentations: number of views T of an image for the instance loss; without it there is one.
        knn_weight: weight λ_knn of the neighborhood loss.
        instance_weight: weight λ_inst of the instance loss.
        ce_weight: weight λ_ce of the cross-entropy of the heads.
        sigma: temperature σ of the neighborhood loss and of the votes in a validation.
        target_momentum: momentum τ of the target in the first step; it grows to 1 by half a cosine.
    """

    monitor = "val_knn_top1"

    def __init__(
        self,
        projector: Literal["none", "linear", "mlp"] = "mlp",
        projection_dim: int = 256,
        projection_hidden_dim: int = 4096,
        augmentations: int = 4,
        knn_weight: float = 1.0,
        instance_weight: float = 1.0,
        ce_weight: float = 0.0,
        sigma: float = SIGMA,
        target_momentum: float = 0.996,
    ):
        weights = {"knn": knn_weight, "instance": instance_weight, "ce": ce_weight}
        _check(projector, projection_dim, projection_hidden_dim, augmentations, weights, sigma)
        self.projector = projector
        self.projection_dim = projection_dim
        self.projection_hidden_dim = projection_hidden_dim
        self.augmentations = augmentations
        self.weights = weights
        self.sigma = sigma
        self.target_momentum = target_momentum
        self.views = augmentations if instance_weight else 1
        self.uses_index = knn_weight > 0
        names = {"knn": "knn_loss", "instance": "instance_loss", "ce": "class_loss"}
        self.losses = tuple(names[name] for name, weight in weights.items() if weight)
        self.metrics = ("accuracy",) if ce_weight else ()
        self.label_loss = label_loss("cross_entropy")

    @property
    def label(self) -> str:
        used = "_".join(name for name, weight in self.weights.items() if weight)
        return f"grafit_{used}"

    @property
    def trains_heads(self) -> bool:
        return self.weights["ce"] > 0

    def check(self, augmentation: "Augmentation") -> None:
        mixed = [name for name in _MIXING if getattr(augmentation, name)]
        if mixed and augmentation.mix_probability and self.weights["knn"]:
            values = ", ".join(f"{name}={getattr(augmentation, name)}" for name in mixed)
            raise InputError(
                f"The neighborhood loss of Grafit needs images with one label. Received: {values}"
            )

    def use_length(self, length):
        super().use_length(length)
        if getattr(self, "target", None) is not None:
            self.target.set_steps(length.steps)

    def build(self, model):
        super().build(model)
        if not self.weights["ce"]:
            for layer in model.head_layers.values():
                layer.trainable = False
        features = model.feature_model()
        if len(features.output_shape) != 2:
            raise InputError(
                f"Grafit needs one pooled embedding per image. Received: {model.name} with "
                f"{features.output_shape}"
            )
        outputs = {"features": features.output, "logits": self.heads.output}
        self.trunk = keras.Model(model.input, outputs)
        width = features.output_shape[-1]
        self.embedder = self._projector(width)
        dim = self.projection_dim if self.embedder else width
        self.predictor = self.target = self.memory = None
        if self.weights["instance"]:
            self.predictor = _mlp(dim, self.projection_hidden_dim, dim, "predictor")
            averaged = [features, self.embedder] if self.embedder else [features]
            steps = self.length.steps if self.length else None
            self.features = features
            self.target = TargetNetwork(averaged, self.target_momentum, steps)
        if self.weights["knn"]:
            if self.length is None:
                raise InputError(
                    "The memory of Grafit needs the number of training images: call "
                    "use_length(TrainingLength(...)) before, as keras_deit.train does."
                )
            self.memory = Memory(self.length.num_images, dim)

    def _projector(self, width: int) -> keras.Model | None:
        if self.projector == "none":
            return None
        if self.projector == "linear":
            # Named, because checkpoints know the slots of an optimizer by names of variables.
            dense = keras.layers.Dense(self.projection_dim, name="projector_output")
            layers = [keras.Input((width,)), dense]
            return keras.Sequential(layers, name="projector")
        return _mlp(width, self.projection_hidden_dim, self.projection_dim, "projector")

    def forward(self, images, training):
        views, shape = self.views, images.shape[-3:]
        if views > 1 and len(images.shape) == 4:  # Outside of a training.
            views = 1
        flat = ops.reshape(images, (-1, *shape))
        outputs = self.trunk(flat, training=training)
        embeddings = self._embed(outputs["features"], training)
        by_view = {"embeddings": embeddings}
        if self.target is not None:
            by_view["predictions"] = self.predictor(embeddings, training=training)
            by_view["targets"] = self.target.predict(self._target, flat)
        by_view = {
            name: _unit(ops.reshape(x, (-1, views, x.shape[-1]))) for name, x in by_view.items()
        }
        first = {
            name: ops.reshape(x, (-1, views, x.shape[-1]))[:, 0]
            for name, x in outputs["logits"].items()
        }
        return {**by_view, "logits": first}

    def _embed(self, features, training):
        return self.embedder(features, training=training) if self.embedder else features

    def _target(self, images):
        # As in BYOL the batch normalization of the target has the statistics of its batch.
        return self._embed(self.features(images, training=False), training=True)

    def activation_bytes(self, images):
        values = 0
        if self.memory is not None:
            # Cosines, probabilities and gradients of each image and each one of the memory, in
            # float32, and masks; and a copy of the memory.
            values += images * 5 * self.length.num_images + math.prod(self.memory.embeddings.shape)
        if self.target is not None:
            shape = self.features.input_shape
            values += images * self.views * largest_call(self.features, shape)
        return 4 * values

    def predictions(self, batch: Batch):
        return fused_logits(batch.outputs["logits"])

    def compute_loss(self, batch: Batch, training: bool) -> dict:
        terms, outputs = {}, batch.outputs
        if self.weights["knn"]:
            terms["knn"] = self._knn_loss(batch, training)
        if self.weights["instance"]:
            losses = instance_losses(outputs["predictions"], outputs["targets"])
            # Under `tf.distribute` the losses of all replicas are summed up.
            terms["instance"] = _mean(losses, batch.sample_weight) / num_replicas_in_sync()
        if self.weights["ce"]:
            logits = self.predictions(batch)
            terms["ce"] = self.label_loss(batch.labels, logits, batch.sample_weight)
        total = sum(self.weights[name] * term for name, term in terms.items())
        return {"loss": total, **dict(zip(self.losses, terms.values(), strict=True))}

    def _knn_loss(self, batch: Batch, training: bool):
        embeddings = batch.outputs["embeddings"][:, 0]
        labels = decisions(batch.labels, self.predictions(batch))
        losses, counted = self.memory.losses(embeddings, labels, batch.index, self.sigma)
        weights = counted if batch.sample_weight is None else counted * batch.sample_weight
        if training:
            # Every replica remembers the images of all of them.
            rows = (ops.stop_gradient(embeddings), labels, batch.index)
            self.memory.update(*map(gathered_from_replicas, rows))
        # Of all replicas together, whose losses are summed up.
        count = mean_over_replicas(ops.sum(counted)) * num_replicas_in_sync()
        return ops.sum(losses * weights) / ops.maximum(count, 1.0)

    def compute_metrics(self, batch: Batch) -> dict:
        if not self.weights["ce"]:
            return {}
        logits = self.predictions(batch)
        return {"accuracy": hits(decisions(batch.labels, logits), logits)}

    def after_step(self, changed, steps):
        if self.target is not None:
            self.target.update(changed, steps)

    def validate(self, train: Features, validation: Features) -> dict[str, float]:
        return self._votes(train, validation, self._neighbors(train, validation))

    def score_test(self, train: Features, validation: Features, test: Features) -> dict:
        return {
            **self._votes(train, test, self._neighbors(train, validation)),
            **self._rankings(train, test),
        }

    def _neighbors(self, train: Features, validation: Features) -> dict[str, int]:
        """Returns the number of neighbors with the best top-1 on validation, by level."""
        found = {}
        for level, (labels, own) in _levels(train, validation).items():
            top1 = knn_top1(validation.features, own, train.features, labels, sigma=self.sigma)
            found[level] = max(top1, key=top1.get)
        return found

    def _votes(self, train: Features, queries: Features, neighbors: dict) -> dict[str, float]:
        figures = {}
        for level, (labels, own) in _levels(train, queries).items():
            k = neighbors[level]
            top1 = knn_top1(queries.features, own, train.features, labels, (k,), self.sigma)[k]
            figures |= {f"{level}knn_top1": top1, f"{level}knn_neighbors": k}
        return figures

    def _rankings(self, train: Features, queries: Features) -> dict[str, float]:
        figures = {}
        for level, (labels, own) in _levels(train, queries).items():
            pair = (queries.features, own, train.features, labels)
            figures[f"{level}map"] = mean_average_precision(*pair)
        if queries.fine_labels is not None:
            coarse = train.labels
            oracle = np.eye(int(max(coarse.max(), queries.labels.max())) + 1)[queries.labels]
            chances = queries.probabilities
            if chances is None:
                chances = coarse_probabilities(queries.features, train.features, coarse, self.sigma)
            for name, values in {"conditional": chances, "oracle": oracle}.items():
                bonus = conditional_bonus(values)
                figures[f"fine_map_{name}"] = mean_average_precision(*pair, bonus, coarse)
        return figures


def instance_losses(predictions, targets):
    """Returns −Σ_{i≠j} cos(prediction of view i, target of view j) / (T(T − 1)), (batch,).

    Args:
        predictions, targets: of length 1, (batch, T, dim).

    Raises:
        InputError: there is one view.
    """
    views = predictions.shape[1]
    if views < 2:
        raise InputError(
            "The instance loss compares 2 or more views of an image: images should be (batch, "
            "views, height, width, 3). Received one view."
        )
    cosines = ops.einsum("bid,bjd->bij", predictions, targets)
    others = 1.0 - ops.eye(views, dtype=cosines.dtype)
    return -ops.sum(cosines * others, axis=(1, 2)) / (views * (views - 1))


def _levels(train: Features, queries: Features) -> dict[str, tuple]:
    """Returns the labels of both by the prefix of the figures of a level."""
    levels = {"": (train.labels, queries.labels)}
    if queries.fine_labels is not None:
        levels["fine_"] = (train.fine_labels, queries.fine_labels)
    return levels


def _mlp(width: int, hidden: int, dim: int, name: str) -> keras.Model:
    """Returns the MLP of BYOL: Dense, batch normalization, ReLU and Dense."""
    layers = [
        keras.Input((width,)),
        keras.layers.Dense(hidden, name=f"{name}_hidden"),
        # BYOL's momentum: a short training has seen enough batches, too. As there, replicas share
        # the statistics of a batch.
        keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            synchronized=num_replicas_in_sync() > 1,
            name=f"{name}_norm",
        ),
        keras.layers.ReLU(name=f"{name}_relu"),
        keras.layers.Dense(dim, name=f"{name}_output"),
    ]
    return keras.Sequential(layers, name=name)


def _unit(x):
    """Returns vectors of length 1, in float32; one of zeros stays so."""
    x = ops.cast(x, "float32")
    # The gradient of `ops.normalize` is NaN for zeros, which a projector of few units can give.
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, 1e-12))


def _mean(values, weights):
    return ops.mean(values if weights is None else values * weights)


def _check(projector, dim, hidden, augmentations, weights: dict, sigma) -> None:
    if projector not in ("none", "linear", "mlp"):
        raise InputError(f"projector should be none, linear or mlp. Received: {projector!r}")
    if min(dim, hidden) < 1:
        raise InputError(
            "projection_dim and projection_hidden_dim should be 1 or more. "
            f"Received: {dim}, {hidden}"
        )
    if min(weights.values()) < 0 or not any(weights.values()):
        raise InputError(
            "The weights of the losses of Grafit should be 0 or more, and one of them more. "
            f"Received: {', '.join(f'{name}_weight={w:g}' for name, w in weights.items())}"
        )
    if weights["instance"] and augmentations < 2:
        raise InputError(
            f"The instance loss compares 2 or more augmentations. Received: {augmentations}"
        )
    if sigma <= 0:
        raise InputError(f"sigma should be above 0. Received: {sigma}")
