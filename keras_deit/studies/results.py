"""The figures of a study, and what they say about its claims."""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from keras_deit.evaluation.seed_study import run_figures
from keras_deit.evaluation.study_comparison import LEVEL, holm, paired, welch
from keras_deit.studies.definition import TOP1, Cell, Figure, StudyDefinition
from keras_deit.training import Run

# A part of `evaluation.json` that is a matrix with names.
DISAGREEMENT = "disagreement"
HOLDS, FAILS, NOISE = "holds", "does not hold", "within noise"
UNKNOWN, ONE_SEED = "not measured", "one seed, no verdict"


def study_document(
    study: StudyDefinition, runs: Mapping[str, Mapping[str, Mapping[int, Run]]], conditions: dict
) -> dict:
    """Returns the figures of a study.

    Args:
        study: the study.
        runs: finished runs by the name of the data, the name of the cell, and the seed.
        conditions: what the figures were measured with, in words by name; `scale` among them.

    Returns:
        JSON values: `study`, its `title`, `source`, `reason` and `remarks`; `conditions`; and in
        `data` by its name the `cells` and the `claims`. A cell has by the name of the figure the
        `values` by seed, their `mean` and `std`, and what is `published`; the top-1 are percents. A
        claim has what it is about, its `verdict` and, if both figures were measured with several
        seeds, the `difference`, its 95 % `interval` and `p`: of Welch's test, or of the paired
        t-test if both figures are of runs that come from the same ones, seed by seed. `p` has
        Holm's correction for the claims of the data, the interval has not.
    """
    return {
        "study": study.name,
        "title": study.title,
        "source": study.source,
        "reason": study.reason,
        "remarks": study.remarks,
        "conditions": conditions,
        "data": {
            dataset: _of_data(study, cells, conditions["scale"]) for dataset, cells in runs.items()
        },
    }


def _of_data(study: StudyDefinition, runs: Mapping[str, Mapping[int, Run]], scale: str) -> dict:
    cells = {cell.name: _figures(study, cell, runs.get(cell.runs_from, {})) for cell in study.cells}
    return {"cells": cells, "claims": _claims(study, cells, scale)}


def _figures(study: StudyDefinition, cell: Cell, runs: Mapping[int, Run]) -> dict:
    top1 = {seed: _top1(run_figures(run), cell) for seed, run in runs.items()}
    found = {TOP1: {**_summary(top1), "published": cell.published}}
    evaluations = {
        seed: json.loads(run.evaluation_file.read_text("utf-8"))
        for seed, run in runs.items()
        if study.figures and run.evaluation_file.is_file()
    }
    for figure in study.figures:
        values = {seed: _value(figure, held) for seed, held in evaluations.items()}
        published = cell.published_figures.get(figure.name)
        found[figure.name] = {**_summary(values), "published": published}
    return found


def _top1(figures: Mapping[str, float], cell: Cell) -> float | None:
    """Returns the top-1 of a head on the reported split; a model of one head has one row."""
    found = {}
    for name, value in figures.items():
        split, *rest = name.split(".")
        if rest[1:] == ["top1"] and split.endswith("_ema") == cell.averaged:
            found[rest[0]] = value
    value = found.get(cell.head, next(iter(found.values()), None))
    return None if value is None else 100 * value


def _value(figure: Figure, evaluation: dict) -> float | None:
    """Returns a figure of an evaluation; None if the model has none."""
    first, *rest = figure.path
    try:
        value = evaluation[first]
        if first == DISAGREEMENT:
            rows, columns = (value["names"].index(name) for name in rest)
            return value["matrix"][rows][columns]
        for key in rest:
            value = value[key]
    except (KeyError, IndexError, ValueError):
        return None
    return float(value)


def _summary(values: Mapping[int, float | None]) -> dict:
    known = {str(seed): value for seed, value in values.items() if value is not None}
    numbers = list(known.values())
    return {
        "values": known,
        "mean": float(np.mean(numbers)) if numbers else None,
        "std": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None,
    }


def _claims(study: StudyDefinition, cells: dict, scale: str) -> list[dict]:
    origins = {cell.name: study.origins(cell, scale) for cell in study.cells}
    tests, counts = [], []
    for claim in study.claims:
        sides = zip((claim.better, claim.worse), claim.figures, strict=True)
        better, worse = (cells[cell][figure]["values"] for cell, figure in sides)
        seeds = [seed for seed in better if seed in worse]
        in_pairs = origins[claim.better] & origins[claim.worse]
        counts.append(len(seeds) if in_pairs else min(len(better), len(worse)))
        if counts[-1] < 2:
            tests.append(None)
        elif in_pairs:
            tests.append(paired([worse[s] for s in seeds], [better[s] for s in seeds]))
        else:
            tests.append(welch([*worse.values()], [*better.values()]))
    measured = [test for test in tests if test is not None]
    for test, p in zip(measured, holm([test["p"] for test in measured]), strict=True):
        test["p"] = p
    return [
        {**dataclasses.asdict(claim), "figures": list(claim.figures), **_verdict(test, count)}
        for claim, test, count in zip(study.claims, tests, counts, strict=True)
    ]


def _verdict(test: dict | None, seeds: int) -> dict:
    if test is None:
        return {"verdict": ONE_SEED if seeds else UNKNOWN}
    differs = test["p"] < LEVEL
    verdict = NOISE if not differs else HOLDS if test["difference"] > 0 else FAILS
    return {"verdict": verdict, **{n: test[n] for n in ("difference", "interval", "p")}}
