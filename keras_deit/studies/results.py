"""The figures of a study, and what they say about its claims."""

from collections.abc import Mapping

import numpy as np

from keras_deit.evaluation import Study
from keras_deit.evaluation.study_comparison import LEVEL, holm, welch
from keras_deit.studies.definition import StudyDefinition

HOLDS, FAILS, NOISE, UNKNOWN = "holds", "does not hold", "within noise", "not measured"


def study_document(
    study: StudyDefinition, found: Mapping[str, Mapping[str, Study]], conditions: dict
) -> dict:
    """Returns the figures of a study.

    Args:
        study: the study.
        found: by the name of the data, the studies of seeds by the name of the cell.
        conditions: what the figures were measured with, in words by name.

    Returns:
        JSON values: `study`, its `title`, `source`, `reason` and `remarks`; `conditions`; and by
        the name of the data in `data` the `cells`, each with `values`, the top-1 by seed, their
        `mean` and `std` and the `published` top-1, all in percent, and the `claims`, each with its
        `text`, `verdict`, and, if both cells were measured, the `difference` in points, its 95 %
        `interval` and `p`, Welch's test with Holm's correction for the claims of the data.
    """
    data = {dataset: _of_data(study, studies) for dataset, studies in found.items()}
    return {
        "study": study.name,
        "title": study.title,
        "source": study.source,
        "reason": study.reason,
        "remarks": study.remarks,
        "conditions": conditions,
        "data": data,
    }


def _of_data(study: StudyDefinition, studies: Mapping[str, Study]) -> dict:
    cells = {cell.name: _cell(cell, studies.get(cell.runs_of or cell.name)) for cell in study.cells}
    return {"cells": cells, "claims": _claims(study, cells)}


def _cell(cell, seeds: Study | None) -> dict:
    results = seeds.config["results"] if seeds is not None else {}
    values = {}
    for seed, figures in results.items():
        top1 = _top1(figures, cell.row)
        if top1 is not None:
            values[str(seed)] = 100 * top1
    numbers = list(values.values())
    return {
        "values": values,
        "mean": float(np.mean(numbers)) if numbers else None,
        "std": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
        "published": cell.published,
    }


def _top1(figures: Mapping[str, float], row: str) -> float | None:
    """Returns the top-1 of a head on the reported split; a model of one head has one row."""
    found = {name.split(".")[1]: v for name, v in figures.items() if name.endswith(".top1")}
    return found.get(row, next(iter(found.values()), None))


def _claims(study: StudyDefinition, cells: dict) -> list[dict]:
    pairs = [
        [[*cells[name]["values"].values()] for name in (c.worse, c.better)] for c in study.claims
    ]
    tests = [welch(*pair) if min(map(len, pair)) > 1 else None for pair in pairs]
    measured = [test for test in tests if test is not None]
    for test, p in zip(measured, holm([test["p"] for test in measured]), strict=True):
        test["p"] = p
    return [
        {"text": claim.text, "better": claim.better, "worse": claim.worse, **_verdict(test)}
        for claim, test in zip(study.claims, tests, strict=True)
    ]


def _verdict(test: dict | None) -> dict:
    if test is None:
        return {"verdict": UNKNOWN}
    differs = test["p"] < LEVEL
    verdict = NOISE if not differs else HOLDS if test["difference"] > 0 else FAILS
    return {"verdict": verdict, **{n: test[n] for n in ("difference", "interval", "p")}}
