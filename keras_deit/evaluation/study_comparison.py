"""Comparing recipes by their studies of seeds: which differences are within the noise of seeds."""

import itertools
import math
import os
from collections.abc import Sequence

import numpy as np
from scipy import stats

from keras_deit.core.errors import InputError, unknown_name
from keras_deit.evaluation.comparing import shortest_names
from keras_deit.evaluation.seed_study import Study, main_figures, same_data, seeds_text
from keras_deit.training import different_values

LEVEL = 0.05
POWER = 0.8
_METHOD = "Welch's t-test"
_HOLM = f"{_METHOD}, Holm's correction"


def compare_studies(paths: Sequence[str | os.PathLike], figures: Sequence[str] = ()) -> dict:
    """Compares the figures of two or more studies, each with each.

    The test is Welch's, for two samples of possibly different variances (B. L. Welch, 1947), of
    level 0.05 and two-sided. For more than two studies the p-values of a figure are corrected for
    the number of pairs by Holm's method (S. Holm, 1979); intervals are not. If no figure of either
    study varies, the t-test has no scale, and the p-value is that of the permutation test.

    Args:
        paths: directories of finished studies of the same data.
        figures: names of figures; by default those of `main_figures` that all studies have.

    Returns:
        JSON values: `studies` with the directory and the seeds of each by its name, `figures` with
        mean, std, min and max of each by its name, and `pairs`. A pair has the names of its
        studies, `first` and `second`, and by figure `difference`, the mean
        of the second minus that of the first; `interval`, its 95 % confidence interval; `p`,
        corrected; `within_noise`, whether `p` is 0.05 or more; and `detectable`, the difference
        that would have been found with a probability of 0.8.

    Raises:
        InputError: a directory is not that of a finished study, they have other data, a study has
            one seed only, or a figure is not in all of them.
    """
    studies = _named_studies(paths)
    configs = {name: study.config for name, study in studies.items()}
    _check(studies, configs)
    known = [n for n in configs[next(iter(configs))]["figures"] if _in_all(n, configs)]
    for name in figures:
        if name not in known:
            raise unknown_name("figure of all studies", name, known)
    chosen = list(figures) or main_figures(known)
    pairs = list(itertools.combinations(configs, 2))
    by_figure = {name: _compared(name, pairs, configs) for name in chosen}
    return {
        "test": _METHOD if len(pairs) == 1 else _HOLM,
        "level": LEVEL,
        "power": POWER,
        "studies": {
            name: {"path": str(studies[name].path), "seeds": config["seeds"]}
            for name, config in configs.items()
        },
        "figures": {f: {name: c["figures"][f] for name, c in configs.items()} for f in chosen},
        "pairs": [
            {
                "first": first,
                "second": second,
                "recipes": _differing(configs[first], configs[second]),
                **{figure: by_figure[figure][index] for figure in chosen},
            }
            for index, (first, second) in enumerate(pairs)
        ],
    }


def _named_studies(paths: Sequence[str | os.PathLike]) -> dict[str, Study]:
    studies = [Study(path) for path in paths]
    places = [study.path.resolve() for study in studies]
    if len(places) < 2:
        raise InputError("Give two studies or more to compare.")
    for study, place in zip(studies, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{study.path} is given twice; a study is compared with others.")
    return dict(zip(shortest_names([study.path for study in studies]), studies, strict=True))


def _check(studies: dict[str, Study], configs: dict[str, dict]) -> None:
    for name, config in configs.items():
        path, missing = studies[name].path, {*config["seeds"]} - {*config["results"]}
        if missing:
            raise InputError(
                f"{path} is not finished: seeds {seeds_text(sorted(missing))} are missing, which "
                "the command that started it trains."
            )
        if len(config["seeds"]) < 2:
            raise InputError(
                f"{path} has one seed, which says nothing about noise; --seeds 0:10 has ten."
            )
    first, *others = configs
    for name in others:
        if not same_data(configs[first], configs[name]):
            raise InputError(
                f"{studies[name].path} has other data than {studies[first].path}: "
                f"{_data(configs[name])}, and {_data(configs[first])}."
            )


def _data(config: dict) -> str:
    counts = ", ".join(f"{split} {count:,}" for split, count in config["examples"].items())
    return f"{config['run']['dataset']} ({counts})"


def _in_all(figure: str, configs: dict[str, dict]) -> bool:
    return all(figure in config["figures"] for config in configs.values())


def _differing(first: dict, second: dict) -> dict[str, list]:
    """Returns the values in which two recipes differ."""
    return {n: list(v) for n, v in different_values(first["run"], second["run"]).items()}


def _compared(figure: str, pairs: list[tuple[str, str]], configs: dict[str, dict]) -> list[dict]:
    values = {n: [row[figure] for row in c["results"].values()] for n, c in configs.items()}
    tests = [welch(values[first], values[second]) for first, second in pairs]
    for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test |= {"p": p, "within_noise": p >= LEVEL}
    return tests


def welch(first: Sequence[float], second: Sequence[float]) -> dict:
    """Tests whether two samples have the same mean.

    Args:
        first, second: values, at least two of each.

    Returns:
        `difference` of the means, second minus first; its 95 % `interval`; `p`; and `detectable`,
        the difference that the test finds with a probability of 0.8, for standard deviations as
        those of the samples.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    difference = float(np.mean(second) - np.mean(first))
    if np.ptp(first) == np.ptp(second) == 0:
        return _without_variance(first, second)
    found = stats.ttest_ind(second, first, equal_var=False)
    low, high = found.confidence_interval(1 - LEVEL)
    error = np.sqrt(sum(np.var(each, ddof=1) / len(each) for each in (first, second)))
    quantiles = stats.t.ppf([1 - LEVEL / 2, POWER], found.df)
    return {
        "difference": difference,
        "interval": [float(low), float(high)],
        "p": float(found.pvalue),
        "detectable": float(error * np.sum(quantiles)),
    }


def paired(first: Sequence[float], second: Sequence[float]) -> dict:
    """Tests whether two figures of the same runs have the same mean, by the paired t-test.

    Args:
        first, second: values, at least two, in the same order of the runs.

    Returns:
        `difference` of the means, second minus first; its 95 % `interval`; and `p`. If all
        differences are the same the t-test has no scale, and `p` is that of the sign test.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    difference = float(np.mean(second - first))
    # The differences of percents are equal but for rounding.
    if np.ptp(second - first) <= 1e-9 * max(1.0, np.abs([first, second]).max()):
        p = min(1.0, 2 * 0.5 ** len(first)) if difference else 1.0
        return {"difference": difference, "interval": [difference] * 2, "p": p}
    found = stats.ttest_rel(second, first)
    low, high = found.confidence_interval(1 - LEVEL)
    return {
        "difference": difference,
        "interval": [float(low), float(high)],
        "p": float(found.pvalue),
    }


def _without_variance(first: np.ndarray, second: np.ndarray) -> dict:
    """Returns the result of the permutation test for samples of one value each.

    If the values differ, only the arrangement itself and, for samples of the same size, its
    opposite have so large a difference.
    """
    difference = float(second[0] - first[0])
    extreme = 2 if len(first) == len(second) else 1
    p = extreme / math.comb(len(first) + len(second), len(first)) if difference else 1.0
    return {"difference": difference, "interval": [difference] * 2, "p": p, "detectable": 0.0}


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values of several tests, corrected by Holm's step-down method."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for done, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[index]))
        corrected[index] = largest
    return corrected


def comparison_table(result: dict) -> str:
    """Returns what `compare_studies` has found, as lines of text."""
    lines = []
    for pair in result["pairs"]:
        lines += _recipe_lines(pair, *(result["studies"][pair[n]] for n in ("first", "second")))
    width = max(map(len, [*result["studies"], *result["figures"]])) + 2
    for figure, rows in result["figures"].items():
        titles = "".join(f"{name:>9}" for name in ("mean", "std", "min", "max", "seeds"))
        lines += ["", f"{figure:{width}}{titles}"]
        for name, row in rows.items():
            cells = "".join(f"{value:9.4f}" for value in row.values())
            lines.append(f"{name:{width}}{cells}{len(result['studies'][name]['seeds']):9}")
        lines += [_sentence(pair, pair[figure]) for pair in result["pairs"]]
    return "\n".join([*lines, "", f"{result['test']}, two-sided, level {LEVEL}."])


def _recipe_lines(pair: dict, first: dict, second: dict) -> list[str]:
    """Returns in what the recipes of a pair differ, and whether some of their runs are the same."""
    names = f"{pair['first']} and {pair['second']}"
    if pair["recipes"]:
        values = ", ".join(f"{n} {a} and {b}" for n, (a, b) in pair["recipes"].items())
        return [f"{names} differ in {values}."]
    lines = [f"{names} have the same recipe."]
    if shared := sorted({*first["seeds"]} & {*second["seeds"]}):
        lines.append(
            f"Seeds {seeds_text(shared)} are in both: the same seed gives the same run on the same "
            "machine, so that these differ by 0, which says nothing about noise."
        )
    return lines


def _sentence(pair: dict, found: dict) -> str:
    """Returns the result of a pair for one figure."""
    verdict = "within noise" if found["within_noise"] else "not within noise"
    low, high = found["interval"]
    return (
        f"{pair['second']} - {pair['first']}: {found['difference']:+.4f} (95 % interval {low:+.4f} "
        f"to {high:+.4f}), {verdict} (p = {found['p']:.2g}); these seeds can show a difference of "
        f"{found['detectable']:.4f}."
    )
