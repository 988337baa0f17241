"""The page of a run shows what the run has, in one file, and reads in a browser."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from pages import Page, chromium, laid_out

from keras_deit import InputError
from keras_deit.evaluation import charts, evaluate_run, report, train_with_report, write_report
from keras_deit.evaluation.figures import (
    classification_figures,
    confusion_counts,
    figures_by_class,
    reliability_bins,
)
from keras_deit.evaluation.mistakes import most_confident_mistakes, with_pictures
from keras_deit.evaluation.page import Contents, page
from keras_deit.objectives import Objective, register_objective
from keras_deit.training import Run

# What happens around the steps is the same on all backends, and PyTorch compiles nothing.
pytestmark = [pytest.mark.usefixtures("eager"), pytest.mark.backends("torch")]
HOSTILE = "<script>alert('&\"1\"')</script>"
SECTIONS = ["result", "curves", "confusion", "classes", "calibration", "mistakes"]
SECTIONS += ["disagreement", "inside", "recipe", "machine", "data", "reproduce"]


def silent(line):
    """Prints nothing."""


@pytest.fixture(scope="module")
def run(tiny_job, tmp_path_factory, eager):
    job = tiny_job({"epochs": 2, "warmup_epochs": 0, "ema_decay": 0.75})
    lines = []
    run = train_with_report(job, str(tmp_path_factory.mktemp("runs") / "first"), lines.append)
    assert run.report_file.is_file(), lines[-1]
    return run


@pytest.fixture
def copied(run, tmp_path):
    return Run(shutil.copytree(run.path, tmp_path / "copied"))


@pytest.fixture(scope="module")
def full(run, tmp_path_factory):
    """A page with everything that a run can have, for classes with hostile and long names."""
    rng = np.random.default_rng(0)
    names = [HOSTILE, "a" * 60, "two words", "ß & <b>", *map(str, range(4, 10))]
    labels, logits = rng.integers(10, size=200), rng.normal(size=(200, 10)) * 3
    rows = ("teacher", "class", "distillation", "fused", "class, EMA", "fused, EMA")
    evaluation = {
        "split": "test",
        "class_names": names,
        "images_per_second": 12.5,
        "figures": {row: classification_figures(labels, logits, 1.5) for row in rows},
        "per_class": {row: figures_by_class(labels, logits, names) for row in rows},
        "confusion": {row: confusion_counts(labels, logits) for row in rows},
        "reliability": {row: reliability_bins(labels, logits) for row in rows},
        "disagreement": {"names": ["ground truth", HOSTILE], "matrix": [[0.0, 0.5], [0.5, 0.0]]},
        "token_cosine": [0.1, 0.5, 0.9],
        "branch_norms": {"attention": [0.5, 0.4, 0.1], "mlp": [0.9, 0.3, 0.2]},
        "attention_distance": [[3.0, 10.0], [8.0, 9.0]],
        "data_changes": f"1 file is new, {HOSTILE}",
    }
    stored = json.loads(run.mistakes_file.read_text())["images"]
    mistakes = [report.mistake_from({**each, "path": HOSTILE}) for each in stored]
    contents = Contents(run, run.summary, evaluation, mistakes, "fused", {HOSTILE: run})
    path = tmp_path_factory.mktemp("full") / "report.html"
    path.write_text(page(contents), "utf-8")
    return path


def test_a_finished_run_has_a_page_of_its_own_figures(run):
    found = Page(run.report_file.read_text("utf-8"))
    ids = [attributes["id"] for attributes in found.all("section")]
    assert ids == [name for name in SECTIONS if name in ids] == SECTIONS
    for split in ("test", "test_ema"):
        for row in run.summary[split].values():
            assert f"{row['top1']:.4f}" in found.texts
    assert run.report_file.stat().st_size < 3e6
    assert any("keras-deit" in text for text in found.texts)


def test_the_figures_and_the_images_are_those_of_an_evaluation(run):
    kept, mistakes = report._stored(run)
    found = []
    evaluated = evaluate_run(
        run.path, print_fn=silent, keep=lambda answers, source: found.append((answers, source))
    )
    for name in ("split", "examples", "scores", "ema_scores", "class_names", "confusion"):
        assert kept[name] == evaluated[name], name
    assert kept["figures"].keys() == evaluated["figures"].keys()
    for row, figures in evaluated["figures"].items():
        for name, value in figures.items():
            assert kept["figures"][row][name] == pytest.approx(value, rel=1e-4, abs=1e-4)
    ((answers, source),) = found
    logits = answers.by_title["fused"]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wrong = np.flatnonzero(logits.argmax(axis=1) != answers.labels)
    expected = wrong[np.argsort(-chances[wrong].max(axis=1), kind="stable")][:30]
    assert len(mistakes) == 30
    np.testing.assert_allclose(
        [each.answers["fused"].probability for each in mistakes],
        chances[expected].max(axis=1),
        rtol=1e-4,
    )
    for each in mistakes:
        assert source[each.index][1] == each.truth != each.answers["fused"].label
        assert [picture.title.split()[-2] for picture in each.pictures[1:]] == [
            "class",
            "distillation",
        ]


def test_the_page_needs_nothing_else(full, run):
    for path in (full, run.report_file):
        text = path.read_text("utf-8")
        addresses = Page(text).addresses()
        assert all(address.startswith(("data:", "#")) for address in addresses)
        assert "url(" not in text and "@import" not in text and "http" not in text
        assert "<script" not in text


def test_every_text_is_escaped(full):
    found = Page(full.read_text("utf-8"))
    assert not found.all("script") and not found.all("b")[4:]
    assert sum(HOSTILE in text for text in found.texts) > 10


def test_everything_that_is_seen_has_words(full):
    found = Page(full.read_text("utf-8"))
    assert {"inside", "disagreement", "compared"} < {a["id"] for a in found.all("section")}
    assert all(image["alt"] for image in found.all("img"))
    for chart in found.all("svg"):
        assert chart.get("aria-hidden") or (chart["role"] == "img" and chart["aria-label"])
    assert len(found.all("caption")) == len(found.all("table")) - len(cards(found))
    assert found.all("html")[0]["lang"] == "en"


def cards(found):
    return [each for each in found.all("figure") if each.get("class") == "card"]


@pytest.mark.skipif(chromium() is None, reason="neither Chromium nor Chrome is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_reads_on_a_phone_and_on_a_desk(full, tmp_path, width):
    seen = laid_out(full, tmp_path, width)
    assert seen["width"] == width and seen["scrolls"] <= width
    assert not seen["faults"] and not seen["logged"] and not seen["requests"]
    assert seen["charts"] > 20 and not seen["empty"] and not seen["cut"]
    assert seen["images"] == 90 and not seen["broken"]


def test_the_command_of_a_finished_run_leaves_its_page(run, tiny_job, monkeypatch):
    before = run.report_file.read_bytes()
    monkeypatch.setattr(report, "page", lambda contents: "another one")
    job = tiny_job({"epochs": 2, "warmup_epochs": 0, "ema_decay": 0.75})
    train_with_report(job, str(run.path), silent)
    assert run.report_file.read_bytes() == before


def test_a_page_that_cannot_be_written_is_one_line(tiny_job, copied, monkeypatch):
    copied.report_file.unlink()
    monkeypatch.setattr(report, "page", lambda contents: 1 / 0)
    job = tiny_job({"epochs": 2, "warmup_epochs": 0, "ema_decay": 0.75})
    lines = []
    found = train_with_report(job, str(copied.path), lines.append)
    assert found.summary and not copied.report_file.exists()
    assert [line for line in lines if "report.html" in line and "\n" not in line] == lines[-1:]


def test_a_page_is_written_again_from_what_is_kept(copied, run, monkeypatch):
    monkeypatch.setattr(report, "evaluate_run", None)
    other = Run(shutil.copytree(run.path, copied.path.parent / "<i>other"))
    output = copied.path.parent / "new" / "page.html"
    assert write_report(copied.path, [other.path], output) == output
    text = output.read_text("utf-8")
    assert "&lt;i&gt;other" in text and "<i>other" not in text
    assert text.count(">&lt;i&gt;other<") >= 4  # The table, and three legends.


def test_figures_of_other_weights_are_not_taken(copied):
    values = json.loads(copied.mistakes_file.read_text())
    copied.mistakes_file.write_text(json.dumps({**values, "weights": "others"}))
    assert report._stored(copied) is None
    write_report(copied.path, print_fn=silent)
    assert report._stored(copied)[0]["images_per_second"] > 0


def test_a_run_of_an_earlier_version_has_a_page_of_what_it_has(copied):
    for file in (copied.evaluation_file, copied.mistakes_file, copied.metrics_file):
        file.unlink()
    config = json.loads(copied.config_file.read_text())
    for name in ("environment", "effective", "data", "examples"):
        config.pop(name)
    config["run"]["dataset"] = "folder:/gone"
    copied.config_file.write_text(json.dumps(config))
    summary = json.loads(copied.summary_file.read_text())
    del summary["digests"]
    copied.summary_file.write_text(json.dumps(summary))
    lines = []
    found = Page(write_report(copied.path, print_fn=lines.append).read_text("utf-8"))
    assert len(lines) == 1 and "gone" in lines[0]
    assert [a["id"] for a in found.all("section")] == ["result", "recipe", "machine", "data"]
    assert f"{summary['test']['fused']['top1']:.4f}" in found.texts


def test_a_call_of_train_is_shown_as_the_command_that_does_the_same():
    from keras_deit.cli.flags import parse_flags
    from keras_deit.training import training_options

    options = {"dataset": "folder:a b", "epochs": 3, "learning_rate": 1e-3, "extend": False}
    options |= {"image_size": (32, 48), "activation_checkpointing": True, "crop_scale": (0.5, 1.0)}
    command = report.training_command({**options, "seed": None})
    assert parse_flags(training_options(), command[2:]) == options


def test_what_is_no_finished_run_is_refused(copied, tmp_path):
    copied.summary_file.unlink()
    with pytest.raises(InputError, match="not finished"):
        write_report(copied.path)
    with pytest.raises(InputError, match="not a run"):
        write_report(tmp_path / "nowhere")


def test_an_objective_with_scores_of_its_own_has_a_page(tiny_job, tmp_path):
    @register_objective
    class Spread(Objective):
        monitor = "val_spread"

        def compute_loss(self, batch, training):
            return {"loss": keras.ops.std(batch.outputs["class"])}

        def validate(self, train, validation):
            return {"spread": float(validation.features.std())}

    job = tiny_job({"epochs": 1, "warmup_epochs": 0}, objective=Spread())
    run = train_with_report(job, str(tmp_path / "own"), silent)
    found = Page(run.report_file.read_text("utf-8"))
    assert f"{run.summary['test']['features']['spread']:.4f}" in found.texts
    assert "confusion" not in {a["id"] for a in found.all("section")}


def test_of_many_classes_the_matrix_is_a_picture_with_its_pairs(run):
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(200), 5)
    names = [f"class {index}" for index in range(200)]
    logits = np.eye(200)[np.where(rng.random(1000) < 0.7, labels, 7)] * 5
    evaluation = {
        "class_names": names,
        "confusion": {"fused": confusion_counts(labels, logits)},
        "per_class": {"fused": figures_by_class(labels, logits, names)},
    }
    text = page(Contents(run, run.summary, evaluation))
    found = Page(text)
    (matrix,) = [image for image in found.all("img") if image.get("class") == "matrix"]
    assert matrix["width"] == "200"
    assert "Most confused pairs" in found.texts and len(text) < 3e6


def test_thirty_photographs_stay_below_three_megabytes(run):
    class Noise:
        def __getitem__(self, index):
            rng = np.random.default_rng(index)
            return rng.integers(256, size=(224, 224, 3), dtype=np.uint8), 0

    mistakes = report._stored(run)[1]
    predictor = report.Predictor(run.path)
    # What the model sees is small: as large as those of ImageNet are.
    predictor.view = lambda image, scale=1: image
    predictor.inputs = lambda image: np.zeros(predictor.model.input_shape[1:], np.float32)
    shown = with_pictures(mistakes, Noise(), predictor)
    assert len(page(Contents(run, run.summary, {}, shown, "fused"))) < 3e6


def test_an_image_that_is_gone_is_left_out(run):
    class Gone:
        paths = ("/photos/<1>.jpg",)

        def __getitem__(self, index):
            raise InputError("gone")

    (mistake,) = report._stored(run)[1][:1]
    (shown,) = with_pictures(
        [dataclasses.replace(mistake, index=0)], Gone(), report.Predictor(run.path)
    )
    assert shown.pictures == () and shown.path == "/photos/<1>.jpg"


def test_no_mistakes_no_images():
    logits = np.eye(3)
    assert most_confident_mistakes(np.arange(3), {"fused": logits}, "fused", np.arange(3), 5) == []


@pytest.mark.parametrize(
    "points",
    [
        [(1, 0.5)],
        [(1, float("nan")), (2, float("inf")), (3, 0.0)],
        [(1, 1e-9), (2, 2e-9)],
        [(0, -5e7), (100, 1e8)],
    ],
)
def test_charts_of_any_numbers(points):
    drawn = charts.line_chart("A title", [charts.Line("<line>", points)], "x")
    assert "nan" not in drawn and "inf" not in drawn and "&lt;line&gt;" in drawn
    Page(drawn)


def test_a_chart_without_points_is_left_out():
    nothing = charts.Line("nothing", [(1, float("nan"))])
    assert charts.line_chart("A title", [nothing], "x") == ""
    assert charts.line_chart("A title", [], "x") == ""
