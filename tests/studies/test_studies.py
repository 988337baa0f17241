"""Studies: their definitions, data, verdicts and pages, and one that runs."""

import collections
import dataclasses
import json
import sys
import types

import cv2
import keras
import numpy as np
import pytest
from PIL import ImageFont

from keras_deit import InputError
from keras_deit.cli.main import run_command
from keras_deit.core.files import write_json
from keras_deit.evaluation.seed_processes import Ending
from keras_deit.evaluation.study_comparison import paired
from keras_deit.models import abstract_model
from keras_deit.studies import (
    Cell,
    Claim,
    Figure,
    StudyDefinition,
    data,
    get_study,
    html_page,
    list_studies,
    markdown_page,
    register_study,
    results,
    run_study,
    scheduling,
    study_dataset,
    study_plan,
)
from keras_deit.studies.options import options_with_teachers
from keras_deit.studies.planned import planned_options
from keras_deit.studies.shared_labels import shared_labels
from keras_deit.teachers import TeacherContract, pixel_format, save_teacher_model
from keras_deit.training import make_job


def small_study(**changes) -> StudyDefinition:
    values = {
        "name": "tiny",
        "title": "a short and a long training",
        "source": "nowhere",
        "cells": (
            Cell("short", {"epochs": 1}, published=50.0),
            Cell("long", {"epochs": 4}, compared_with="short"),
            Cell("pruned", pruning_rate=0.4, runs_of="short"),
            Cell(
                "on top",
                {
                    **{"epochs": 1, "weights": "run:short"},
                    **{"teacher": "run:short", "distillation": "hard", "accept_teacher": True},
                },
            ),
        ),
        "claims": (Claim("long", "short", "Longer is better."),),
        "figures": (Figure("differ", ("disagreement", "short", "class")),),
        "datasets": ("digits",),
        "reason": "they are there",
        "small": {
            "recipe": "digits",
            "distillation": "none",
            "model": "deit_tiny_patch16_224",
            "embed_dim": 24,
            "depth": 1,
            "num_heads": 2,
            "batch_size": 128,
            "train_examples": 256,
        },
        "paper": {"dataset": "imagenet2012"},
        "seeds": "0:2",
    }
    return StudyDefinition(**{**values, **changes})


@pytest.mark.parametrize("name", list_studies())
@pytest.mark.parametrize("scale", ["small", pytest.param("paper", marks=pytest.mark.nightly)])
@pytest.mark.backends("torch")
def test_every_cell_is_a_training(name, scale, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The file of Grafit's published setting, which a user has to bring.
    (tmp_path / "imagenet_coarse.json").write_text('{"tench": "fish", "goldfinch": "bird"}')
    study = get_study(name)
    dataset = "digits" if scale == "small" else study.paper["dataset"]
    for cell in study.trained:
        options = planned_options(study, cell, dataset, scale, tmp_path)
        job = make_job(**options)
        if scale == "paper":
            abstract_model(job.recipe.model, **job.recipe.model_values)
        elif options["recipe"] == "auto" and "crop ratio" not in cell.name:
            # All rows see the same view of an image, also those that start from weights.
            assert job.recipe.crop_ratio == 1.0
        for option in options.keys() & job.recipe.model_values.keys():
            assert job.recipe.model_values[option] == options[option]


@pytest.mark.parametrize(
    "changes",
    [
        {"cells": (Cell("same"), Cell("same"))},
        {"cells": (Cell("a", head="both"),)},
        {"cells": (Cell("a", runs_of="b"),)},
        {"cells": (Cell("a", pruning_rate=0.4),)},
        {"cells": (Cell("a", compared_with="b"),)},
        {"cells": (Cell("a", {"weights": "run:b"}), Cell("b"))},
        {"claims": (Claim("long", "longest", ""),)},
        {"claims": (Claim("long", "short", "", ("top-1", "top-9")),)},
    ],
)
def test_a_wrong_definition_is_refused(changes):
    with pytest.raises(InputError):
        small_study(**changes)


@pytest.fixture
def fonts(monkeypatch):
    """Twenty names of fonts, all of which are the one of Pillow: matplotlib is not needed."""
    typeface = ImageFont.load_default(70)
    monkeypatch.setattr(data, "_fonts", lambda: [f"font{index}" for index in range(20)])
    monkeypatch.setattr(ImageFont, "truetype", lambda font, size: typeface)


@pytest.mark.parametrize("name", ["letters2", "crops2"])
def test_data_of_packages_have_all_splits_and_are_the_same_again(name, fonts, tmp_path):
    first, second = (study_dataset(name, tmp_path / place) for place in "ab")
    files = sorted((tmp_path / "a").rglob("*.png"))
    assert first == f"folder:{tmp_path / 'a' / name}" and first != second
    counts = collections.Counter(file.parts[-3] for file in files)
    classes = len({file.parts[-2] for file in files})
    assert counts == {"train": 2 * classes, "validation": 20 * classes, "test": 100 * classes}
    again = sorted((tmp_path / "b").rglob("*.png"))
    assert all(f.read_bytes() == g.read_bytes() for f, g in zip(files, again, strict=True))
    pixels = [cv2.imread(str(file)) for file in files[:: len(files) // 20]]
    # Some pieces of a photograph are of a clear sky.
    assert np.mean([np.ptp(image) > 20 for image in pixels]) > 0.9


def test_fewer_training_images_are_the_first_ones_and_the_test_is_the_same(fonts):
    few, more = ({place: pixels for place, pixels in data._letters(n)} for n in (2, 3))
    assert few.keys() < more.keys()
    assert all(np.array_equal(few[place], more[place]) for place in few)


def test_no_font_is_in_two_splits(fonts, monkeypatch):
    monkeypatch.setattr(data, "_drawn", lambda letter, font, rng: font)
    splits = {}
    for place, font in data._letters(30):
        splits.setdefault(font, set()).add(place.split("/")[0])
    assert len(splits) > 15 and all(len(found) == 1 for found in splits.values())


def test_mnist_has_each_image_once(monkeypatch):
    pixels = np.arange(1000)[:, None] * np.ones(784)
    package = types.SimpleNamespace(mnist_data=lambda: (pixels, np.arange(1000) % 10))
    monkeypatch.setattr(data, "_package", lambda name: package)
    places = [place.split("/") for place, _ in data._mnist(30)]
    assert sorted(int(file[: -len(".png")]) for *_, file in places) == list(range(1000))
    assert all(int(file[: -len(".png")]) % 10 == int(label) for _, label, file in places)
    counts = collections.Counter(split for split, *_ in places)
    assert counts == {"train": 300, "validation": 200, "test": 500}
    for number in (0, 61):
        with pytest.raises(InputError, match=f"mnist{number}"):
            list(data._mnist(number))


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"matplotlib.*keras-deit\[study\]"):
        study_dataset("letters30", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.nightly
@pytest.mark.parametrize("name", list_studies())
def test_every_small_model_can_be_built(name, tmp_path):
    study = get_study(name)
    *rows, total = study_plan(name, ["digits"], output=str(tmp_path))
    assert len(rows) == len(study.trained) + len(study.pruned) and "two cores" in total


def test_a_plan_has_steps_and_time_and_counts_a_teacher_once(capsys, tmp_path):
    cells = ["--dataset=digits", "--seeds=0:2", f"--output_dir={tmp_path / 'study'}"]
    run_command(["study", "tokens", "--plan", *cells])
    *rows, total = capsys.readouterr().out.splitlines()
    assert ["2 × 1,170 steps" in row for row in rows] == [True] * 3
    assert "with 1 training of a teacher" in total and "6 trainings" in total
    assert "two cores" in total


@pytest.mark.parametrize(
    ("better", "worse", "verdict"),
    [
        ([90.0, 91.0, 92.0], [70.0, 71.0, 72.0], "holds"),
        ([70.0, 71.0, 72.0], [90.0, 91.0, 92.0], "does not hold"),
        ([70.0, 80.0, 90.0], [71.0, 79.0, 88.0], "within noise"),
        ([70.0], [90.0], "one seed, no verdict"),
        ([], [90.0], "not measured"),
    ],
)
def test_a_claim_holds_or_not_by_what_the_seeds_say(better, worse, verdict):
    study = small_study()
    cells = {
        name: {"top-1": results._summary(dict(enumerate(values)))}
        for name, values in {"long": better, "short": worse}.items()
    }
    (claim,) = results._claims(study, cells, "small")
    assert claim["verdict"] == verdict
    if len(better) > 1:
        assert claim["difference"] == pytest.approx(np.mean(better) - np.mean(worse))


@pytest.mark.parametrize(
    "cells",
    [
        (Cell("both"), Cell("class", runs_of="both", head="class")),
        (Cell("class"), Cell("both", {"weights": "run:class"})),
        (
            Cell("class"),
            Cell("both", {"weights": "run:class"}),
            Cell("on", small={"teacher": "run:both"}),
        ),
        (Cell("both"), Cell("class", runs_of="both", pruning_rate=0.2)),
        (Cell("first"), *(Cell(n, {"weights": "run:first"}) for n in ("both", "class"))),
    ],
)
def test_figures_of_runs_from_the_same_runs_are_compared_by_pairs(cells):
    study = small_study(cells=cells, claims=(Claim("both", "class", "Both are better."),))
    # The runs differ more than the heads of a run.
    values = {"both": [70.0, 80.5, 91.0], "class": [69.0, 79.6, 90.1]}
    values = {cell.name: values.get(cell.name, [1.0, 2.0, 3.0]) for cell in cells}
    figures = {n: {"top-1": results._summary(dict(enumerate(v)))} for n, v in values.items()}
    (claim,) = results._claims(study, figures, "small")
    assert claim["verdict"] == "holds"
    low, high = claim["interval"]
    assert low < claim["difference"] < high
    # t = mean / (std / sqrt(3)) of the differences 1, 0.9 and 0.9; its quantile for 2 degrees.
    differences = np.subtract(values["both"], values["class"])
    half = 4.302653 * differences.std(ddof=1) / np.sqrt(3)
    assert [low, high] == pytest.approx([differences.mean() - half, differences.mean() + half])


def test_a_study_without_claims_has_a_page():
    summary = results._summary({0: 60.0, 1: 70.0, 2: 65.0})
    cells = {"only": {"top-1": {**summary, "published": None}}}
    part = {"cells": cells, "claims": results._claims(small_study(claims=()), cells, "small")}
    names = ("study", "title", "source", "remarks", "reason")
    document = {**dict.fromkeys(names, "a"), "conditions": {}, "data": {"digits": part}}
    page = markdown_page(document, "")
    assert "| only | 65.00 | 5.00 | 60.00 | 70.00 | 3 |" in page and "verdict" not in page
    assert "verdict" not in html_page(document, "")


@pytest.mark.parametrize(
    ("seeds", "verdict"), [("23", "not measured"), ("13", "one seed, no verdict")]
)
def test_pairs_need_common_seeds(seeds, verdict):
    cells = (Cell("class"), Cell("both", {"weights": "run:class"}))
    study = small_study(cells=cells, claims=(Claim("both", "class", "Both are better."),))
    values = {"class": {0: 1.0, 1: 2.0}, "both": {int(seed): 3.0 for seed in seeds}}
    figures = {name: {"top-1": results._summary(found)} for name, found in values.items()}
    (claim,) = results._claims(study, figures, "small")
    assert claim["verdict"] == verdict


def test_runs_of_a_teacher_come_from_its_runs_and_at_one_scale_only():
    cells = (
        Cell("teacher"),
        Cell("on top", {"weights": "run:teacher"}),
        Cell("taught", small={"teacher": "run:on top"}),
        Cell("alone"),
    )
    study = small_study(cells=cells, claims=())
    found = {cell.name: study.origins(cell, "small") for cell in cells}
    assert found == {name: {"alone" if name == "alone" else "teacher"} for name in found}
    assert study.origins(cells[2], "paper") == {"taught"}


def test_equal_differences_of_percents_are_no_proof():
    first = [100 * hits / 2600 for hits in (2001, 1987, 2042)]
    test = paired(first, [value + 100 / 2600 for value in first])
    assert test["p"] == 0.25


def test_a_top1_is_that_of_the_final_weights_unless_the_averaged_ones_are_asked_for():
    figures = {
        **{"test.class.top1": 0.5, "test.fused.top1": 0.6, "test.fused.top5": 0.9},
        **{"test_ema.class.top1": 0.7, "test_ema.fused.top1": 0.8, "val_accuracy": 0.1},
    }
    found = [
        results._top1(figures, Cell("a", **values))
        for values in ({}, {"head": "class"}, {"averaged": True})
    ]
    assert found == pytest.approx([60.0, 50.0, 80.0])
    # A model of one head has one row.
    assert results._top1({"test.class.top1": 0.5}, Cell("a")) == 50.0


def test_figures_of_an_evaluation_are_found_by_their_path():
    evaluation = {
        "figures": {"fused": {"macro_f1": 0.5}},
        "token_cosine": [0.1, 0.9],
        "disagreement": {"names": ["class", "teacher"], "matrix": [[0, 0.25], [0.25, 0]]},
    }
    paths = {
        ("figures", "fused", "macro_f1"): 0.5,
        ("token_cosine", -1): 0.9,
        ("disagreement", "teacher", "class"): 0.25,
        ("disagreement", "teacher", "both"): None,
        ("absent",): None,
    }
    assert {path: results._value(Figure("", path), evaluation) for path in paths} == paths


def test_a_row_starts_when_the_runs_that_it_needs_are_there(tmp_path, monkeypatch):
    cells = (
        *(Cell("first"), Cell("on top", {"weights": "run:first"}), Cell("last")),
        *(Cell(f"at {rate}", runs_of="first", pruning_rate=rate) for rate in (0.2, 0.4)),
        Cell("harder", {"l1": 0.1}, runs_of="first", pruning_rate=0.4),
    )
    study = small_study(cells=cells, claims=())
    monkeypatch.setattr(scheduling, "cell_options", lambda *given: {})
    opened, commands = {}, []

    class Processes:
        def trainings(self, path, seeds, print_line, options):
            name = path.relative_to(tmp_path / "digits").as_posix()
            opened[name] = types.SimpleNamespace(finished=set(), failed=set())
            opened[name].waiting = lambda seeds: seeds
            opened[name].task = lambda seed: (name, seed)
            return opened[name]

        def task(self, name, words, log, ended):
            commands.append((words, ended))
            return "pruning"

    lines = []
    trainings = scheduling.StudyTrainings(
        study, "digits", "small", tmp_path, [0, 1], Processes(), lines.append
    )
    assert [trainings.next() for _ in range(3)] == [("first", 0), ("first", 1), ("last", 0)]
    opened["first"].finished.add(0)
    assert trainings.next() == ("on_top/from_0", 0)
    opened["first"].failed.add(1)
    assert [trainings.next() for _ in range(4)] == [("last", 1), "pruning", "pruning", None]
    # The rates with the same gates are in one command.
    (words, ended), (harder, _) = commands
    assert words[0] == "prune" and words[-3:] == ["--rate", "0.2", "0.4"]
    assert f"--run_dir={tmp_path / 'digits' / 'first' / 'seed_0'}" in words
    assert "--l1=0.1" in harder and harder[-2:] == ["--rate", "0.4"]
    ended(Ending("exit code 1: no gates", 3.0))
    assert lines.pop().startswith("digits, at 0.2: seed 0 has not been pruned (exit code 1: no ga")
    pruned = tmp_path / "digits" / "from_at_0_2" / "seed_0"
    rows = [{"rate": rate, "run_dir": str(pruned / f"rate{rate}")} for rate in (0.0, 0.2, 0.4)]
    pruned.mkdir(parents=True)
    write_json(pruned / "pruning.json", {"rows": rows})
    assert lines == ["digits, on top: seed 1 starts from what has failed"]
    for name in ("on_top/from_0", "last"):
        opened[name].finished |= {0, 1}
    runs = {name: [*found] for name, found in trainings.runs().items()}
    assert runs == {
        **{"first": [0], "on top": [0], "last": [0, 1]},
        **{"at 0.2": [0], "at 0.4": [0], "harder": []},
    }
    assert trainings.failed[2:] == ["digits, first: seeds 1 have failed"]


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        (
            "distillation",
            {
                ("soft, class token", "soft, class token, weight 0.9", "token, soft"),
                ("hard, class token", "token, both"),
            },
        ),
        ("augmentation", set()),
        ("tokens", set()),
        ("teachers", set()),
    ],
)
@pytest.mark.backends("torch")
def test_rows_with_the_same_views_and_teacher_share_labels(name, groups, tmp_path):
    study = get_study(name)
    labels = shared_labels(study, options_with_teachers(study, "digits", "small", tmp_path))
    names = {each.name for each in labels.values()}
    found = {tuple(cell for cell, each in labels.items() if each.name == name) for name in names}
    assert found == groups
    by_name = {cell.name: cell for cell in study.cells}
    for cell, each in labels.items():
        assert each.options["distillation"] == by_name[cell].options["distillation"]
        assert "teacher_steps" in each.options and "run_dir" not in each.options


@pytest.mark.slow
@pytest.mark.backends("torch")
def test_a_teacher_is_asked_once_for_rows_with_the_same_views(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_deit.studies.definition.STUDIES._values", {})
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)]
    )
    teacher = tmp_path / "teacher.keras"
    save_teacher_model(model, TeacherContract(pixel_format("0-1", 32, 32), "logits", 10), teacher)
    distilling = {"epochs": 1, "distillation": "hard", "teacher": str(teacher)}
    cells = (
        Cell("one head", {**distilling, "accept_teacher": True}),
        Cell("two heads", {**distilling, "accept_teacher": True, "distilled": True}),
    )
    register_study(small_study(cells=cells, claims=()))
    lines = []
    output = tmp_path / "study"
    document = run_study("tiny", None, "0:2", "small", str(output), 2, print_fn=lines.append)
    found = document["data"]["digits"]["cells"]
    assert [len(found[cell.name]["top-1"]["values"]) for cell in cells] == [2, 2]
    assert sum("labels for all rows" in line for line in lines) == 2
    (labels,) = (output / "digits").glob("labels_*")
    for cell in ("one_head", "two_heads"):
        for seed in (0, 1):
            run = output / "digits" / cell / f"from_{seed}" / f"seed_{seed}"
            config = json.loads((run / "config.json").read_text())
            assert config["teacher_replay"] == str(labels / f"seed_{seed}")
    lines.clear()
    run_study("tiny", None, "0:2", "small", str(output), 2, print_fn=lines.append)
    assert not lines


# Its processes run on PyTorch, because they start fastest and compile nothing.
@pytest.mark.slow
@pytest.mark.backends("torch")
def test_a_study_runs_goes_on_and_writes_its_pages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("keras_deit.studies.definition.STUDIES._values", {})
    whole = small_study()
    register_study(dataclasses.replace(whole, cells=whole.cells[:2]))
    document = run_study("tiny", output=str(tmp_path), print_fn=lambda line: None)
    cells = document["data"]["digits"]["cells"]
    assert all(len(cell["top-1"]["values"]) == 2 for cell in cells.values())
    assert cells["short"]["top-1"]["published"] == 50.0
    # At most as often as one of the two is wrong.
    wrong = [sum(100 - cell["top-1"]["values"][seed] for cell in cells.values()) for seed in "01"]
    differ = cells["long"]["differ"]["values"]
    assert not cells["short"]["differ"]["values"] and list(differ) == ["0", "1"]
    assert all(0 < 100 * differ[seed] <= wrong[int(seed)] for seed in "01")
    assert json.loads((tmp_path / "study.json").read_text()) == document
    assert "keras-deit study tiny" in (tmp_path / "study.md").read_text("utf-8")
    runs = list(tmp_path.rglob("final.weights.h5"))
    times = [file.stat().st_mtime_ns for file in runs]
    assert len(runs) == 4

    run_command(["study", "tiny", f"--output_dir={tmp_path}"])
    said = capsys.readouterr().out
    assert "Longer is better." in said and "is compared with" not in said
    assert [file.stat().st_mtime_ns for file in runs] == times
    page = (tmp_path / "study.html").read_text("utf-8")
    assert page.count("<circle") == 4 and "http" not in page.split("</style>")[1]
    monkeypatch.setattr("keras_deit.studies.definition.STUDIES._values", {"tiny": whole})
    # Rows that start from runs of another row are trained with several seeds at once, too.
    lines = []
    document = run_study("tiny", None, "0:2", "small", str(tmp_path), 2, print_fn=lines.append)
    cells = document["data"]["digits"]["cells"]
    assert len(cells["on top"]["top-1"]["values"]) == len(cells["pruned"]["top-1"]["values"]) == 2
    weights = [
        json.loads((run / "config.json").read_text())["run"]["weights"]
        for run in sorted(tmp_path.glob("digits/on_top/from_*/seed_?"))
    ]
    assert weights == [str(tmp_path / "digits" / "short" / f"seed_{seed}") for seed in (0, 1)]
    assert cells["pruned"]["top-1"] != cells["short"]["top-1"]
    assert [file.stat().st_mtime_ns for file in runs] == times
    assert markdown_page(document, "keras-deit study tiny").count("\n| ") >= 6
    assert "Longer is better." in html_page(document, "keras-deit study tiny")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "study"),
        (["distillation", "depth"], "one study"),
        (["distillation", "--scale=large"], "scale"),
        (["distillation", "--seeds=3:1"], "seeds"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        run_command(["study", *arguments])
    assert not list(tmp_path.iterdir())
