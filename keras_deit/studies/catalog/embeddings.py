"""A study of embeddings: fine classes from coarse labels."""

from keras_deit.studies.definition import Cell, Claim, Figure, StudyDefinition, register_study

_KNN, _MAP, _CONDITIONAL = "fine kNN", "fine mAP", "fine mAP, conditional"
_FIGURES = {
    _KNN: "fine_knn_top1",
    _MAP: "fine_map",
    _CONDITIONAL: "fine_map_conditional",
}


def _published(knn: float, mean_ap: float, conditional: float) -> dict[str, float]:
    values = (knn / 100, mean_ap / 100, conditional / 100)
    return dict(zip(_FIGURES, values, strict=True))


register_study(
    StudyDefinition(
        name="grafit",
        title="fine classes from coarse labels: nearest neighbors and instances",
        source="Grafit (Touvron et al., 2021), ResNet-50 on the 127 coarse classes of ImageNet",
        cells=(
            Cell(
                "cross-entropy",
                {"instance_weight": 0.0, "knn_weight": 0.0, "ce_weight": 1.0, "projector": "none"},
                published_figures=_published(54.7, 22.7, 24.4),
            ),
            Cell(
                "SNCA+",
                {"instance_weight": 0.0},
                published_figures=_published(55.4, 31.8, 32.9),
            ),
            Cell("Grafit", published_figures=_published(69.1, 39.4, 42.9)),
        ),
        claims=tuple(
            Claim(better, worse, text, (figure, figure))
            for better, worse, text in (
                ("SNCA+", "cross-entropy", "Neighbors are better than cross-entropy."),
                ("Grafit", "SNCA+", "Instances help beside neighbors."),
            )
            for figure in (_KNN, _MAP)
        ),
        figures=tuple(Figure(name, ("scores", "features", key)) for name, key in _FIGURES.items()),
        datasets=("digits",),
        reason=(
            "ten digits in three coarse classes: top-1 of the coarse classes saturates, mean "
            "average precision of the fine ones does not"
        ),
        small={"recipe": "grafit_digits", "coarse": "digits", "epochs": 100},
        paper={"dataset": "imagenet2012", "recipe": "grafit", "coarse": "imagenet_coarse.json"},
        seeds="0:5",
        remarks="At the scale small the trunk is a DeiT for digits.",
    )
)
