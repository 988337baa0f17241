"""Studies of seeds: their processes are small scripts here, which write what a training leaves."""

import json
import os
import re
import signal
import threading
import time

import numpy as np
import pytest

from keras_deit.cli import main
from keras_deit.core.errors import InputError
from keras_deit.core.files import write_json
from keras_deit.evaluation import compare_studies, comparison_table, seed_processes, train_seeds
from keras_deit.evaluation.seed_study import Study, parse_seeds, seeds_text
from keras_deit.evaluation.study_comparison import holm, welch
from keras_deit.training import Stopped, make_job, run_identity

OPTIONS = {"distillation": "none", "epochs": 2, "depth": 1}
DATA = {"class_names": [str(digit) for digit in range(10)], "data": None}
DATA["examples"] = {"train": 1257, "validation": 180, "test": 360}
# A training that ends at once, or does what it is told to by a file beside the study.
PROGRAM = """
import json, os, pathlib, signal, sys, time
flags = dict(a.removeprefix("--").split("=", 1) for a in sys.argv[2:] if "=" in a)
run, seed = pathlib.Path(flags["run_dir"]), int(flags["seed"])
run.mkdir(exist_ok=True)
(run / "started").write_text(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {time.monotonic()}")
print("training", *sys.argv[1:], flush=True)
told = run.parent.with_name(f"{run.name}.told")
if told.is_file() and told.read_text() == "fail":
    print("Traceback\\n  of several lines\\nValueError: it does not work", file=sys.stderr)
    sys.exit(1)
if told.is_file() and told.read_text() == "wait":
    def stop(number, frame):
        (run / "saved").write_text(str(number))
        os._exit(128 + number)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    (run / "waits").touch()
    time.sleep(20)
config = json.loads((run.parent.parent / "config.json").read_text())
config["run"]["seed"] = seed
(run / "config.json").write_text(json.dumps(config))
(run / "metrics.csv").write_text(f"epoch,loss,val_accuracy\\n0,1,0\\n1,1,0.{seed}\\n")
summary = {"test": {"fused": {"top1": 0.5 + seed / 10}, "teacher": {"top1": 0.9}}}
(run / "summary.json").write_text(json.dumps(summary))
(run / "ended").write_text(str(time.monotonic()))
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Returns a function that trains a study, and returns it and what was printed."""
    monkeypatch.setattr(seed_processes, "_PROGRAM", PROGRAM)
    monkeypatch.setattr(seed_processes, "_POLL_SECONDS", 0.02)
    config = {"run": run_identity(make_job(**OPTIONS)), "format": 2, "model": {}, **DATA}
    config |= {"crop_ratio": 1.0, "interpolation": "bilinear"}
    config |= dict.fromkeys(("data_dir", "teacher", "teacher_contract"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (tmp_path / "config.json").write_text(json.dumps(config))

    def call(seeds, name="study", **options):
        lines = []
        values = {"run_dir": str(tmp_path / name), "print_fn": lines.append, **OPTIONS, **options}
        try:
            return train_seeds(seeds, **values), lines
        except InputError as error:
            return str(error), lines

    return call


def written(folder, name):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob(f"*/{name}")}


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0:4", [0, 1, 2, 3]), ("7", [7]), ("9,0:5:2", [0, 2, 4, 9]), ([3, 1], [1, 3])],
)
def test_seeds_are_ranges_and_numbers(text, seeds):
    assert parse_seeds(text) == seeds == parse_seeds(seeds_text(seeds))


@pytest.mark.parametrize(
    "text", ["3:3", "", "1,1", "0:4,3", "-1:2", "a", "0:9:0", "0:4294967297", []]
)
def test_other_seeds_are_refused(text):
    with pytest.raises(InputError, match=r"[Ss]eed"):
        parse_seeds(text)


def test_each_seed_is_a_run_and_its_figures_are_summed_up(train, tmp_path):
    study, lines = train("1:4")
    expected = np.array([0.6, 0.7, 0.8])
    (mean, std, least, most) = study.config["figures"]["test.fused.top1"].values()
    assert np.isclose([mean, std], [expected.mean(), expected.std(ddof=1)]).all()
    assert (least, most) == (0.6, 0.8)
    assert [*study.config["figures"]] == ["test.fused.top1", "val_accuracy"]
    assert np.isclose(study.config["figures"]["val_accuracy"]["mean"], 0.2)
    assert "test.fused.top1 0.7000, val_accuracy 0.2000" in "\n".join(lines)
    assert re.search(r"test\.fused\.top1 +0\.7000 +0\.1000 +0\.6000 +0\.8000", lines[-1])
    started = written(study.path, "started")
    _, lines = train("1:4")
    assert "finished" in lines[0] and started == written(study.path, "started")
    train("4", imports=["mine.py"])
    assert sorted(Study(study.path).config["results"]) == [1, 2, 3, 4]
    printed = study.log(4).read_text()
    assert "train --import=mine.py --distillation=none --epochs=2 --depth=1 --seed=4" in printed


def test_a_seed_that_fails_is_one_line_and_trained_again_by_the_same_call(train, tmp_path):
    told = tmp_path / "seed_1.told"
    told.write_text("fail")
    error, lines = train("0:3")
    assert "Seeds 1 of" in error
    (line,) = [line for line in lines if "failed" in line]
    assert "Seed 1" in line and "exit code 1: ValueError: it does not work" in line
    assert "\n" not in line and "seed_1.log" in line
    path = tmp_path / "study"
    assert sorted(Study(path).config["results"]) == [0, 2]
    other, _ = train("5:7", "other")
    with pytest.raises(InputError, match=r"study is not finished: seeds 1 are missing"):
        compare_studies([other.path, path])
    told.unlink()
    started = written(path, "started")
    study, _ = train("0:3")
    changed = {n for n, time in written(path, "started").items() if time != started[n]}
    assert changed == {"seed_1"} and sorted(study.config["results"]) == [0, 1, 2]


def test_several_at_once_have_a_gpu_each(train, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    study, _ = train("0:5", parallel_seeds=2)
    times = []
    for seed in range(5):
        folder = study.run(seed).path
        gpu, start = (folder / "started").read_text().split()
        times.append((float(start), float((folder / "ended").read_text()), gpu))
    for start, end, gpu in times:
        beside = [other for other in times if other[0] < end and start < other[1]]
        assert len(beside) <= 2 and {gpu} <= {"4", "7"}
    assert {gpu for *_, gpu in times} == {"4", "7"}
    assert (study.run(0).path / "started").read_text().split()[0] != "None"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_process_and_waits_until_they_have_saved(number, train, tmp_path):
    for seed in (1, 2):
        (tmp_path / f"seed_{seed}.told").write_text("wait")
    path = tmp_path / "study"

    def send():
        while len(written(path, "waits")) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(Stopped, match=r"seed 1 of .*study and .* seed 2 of") as stopped:
        train("0:4", parallel_seeds=2)
    assert stopped.value.signal_number == number
    assert {(path / f"seed_{seed}" / "saved").read_text() for seed in (1, 2)} == {str(int(number))}
    assert not (path / "seed_3").exists()
    for seed in (1, 2):
        (tmp_path / f"seed_{seed}.told").unlink()
    study, _ = train("0:4", parallel_seeds=2)
    assert len(study.config["results"]) == 4


def test_bad_input_is_one_line_before_a_process_is_started(train, tmp_path, monkeypatch):
    study, _ = train("0")
    monkeypatch.setattr(seed_processes, "_PROGRAM", "raise SystemExit(9)")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    for words, options in (
        ("epochs 2 there, 3 here", {"epochs": 3}),
        ("run of one seed", {"name": "run"}),
        ("do not belong", {"name": "full"}),
        ("epochs or steps", {"minutes": 5.0}),
        ("leave seed out", {"seed": 1}),
        ("extend", {"extend": True}),
        ("parallel_seeds", {"parallel_seeds": 0}),
        ("'lion'", {"optimizer": "lion"}),
    ):
        error, lines = train("0:2", **options)
        assert re.search(words, error) and "\n" not in error and not lines, error
    config = json.loads(study.file.read_text())
    write_json(study.file, {**config, "examples": {**config["examples"], "test": 361}})
    assert "other data" in train("0:2")[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--seed=0", "--seeds=0:2"), "leave seed out"),
        (("--parallel_seeds=2",), "needs --seeds"),
        (("--seeds=0:2", "--plan"), "--plan"),
        (("--seeds=2:2",), "no seed"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, words, tmp_path, monkeypatch):
    monkeypatch.setattr(seed_processes, "_PROGRAM", "raise SystemExit(9)")
    with pytest.raises(InputError, match=words):
        main.run_command(["train", f"--run_dir={tmp_path / 'study'}", *flags])


# Student's sleep data, as R has them, with what its t.test says of them.
SLEEP = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_the_t_test_is_that_of_r():
    found = welch(SLEEP, SLEEP_2)
    assert np.isclose(found["difference"], 1.58)
    assert np.allclose(found["interval"], [-0.2054832, 3.3654832], atol=1e-6)
    assert np.isclose(found["p"], 0.07939414, atol=1e-7)
    # power.t.test(n = 10, sd = 1, power = 0.8) has 1.32495.
    unit = np.tile([-1.0, 1.0], 5) * np.sqrt(0.9)
    assert np.isclose(welch(unit, unit)["detectable"], 1.325, atol=2e-3)


def test_samples_without_variance_have_the_permutation_test():
    assert welch([0.5] * 10, [0.5] * 10)["p"] == 1
    assert np.isclose(welch([0.5] * 3, [0.75] * 3)["p"], 2 / 20)
    assert np.isclose(welch([0.5] * 3, [0.75] * 2)["p"], 1 / 10)


def test_holms_correction_is_that_of_r():
    # p.adjust(c(0.04, 0.01, 0.03, 0.005), "holm")
    assert np.allclose(holm([0.04, 0.01, 0.03, 0.005]), [0.06, 0.03, 0.06, 0.02])


def study_of(folder, name, values, first=0, **changes):
    """Writes a study with figures and returns its directory."""
    study = Study(folder / name)
    study.path.mkdir()
    run = {"dataset": "digits", "optimization": {"epochs": 60, **changes}}
    results = {first + i: {"test.fused.top1": v, "val_loss": 1 - v} for i, v in enumerate(values)}
    study.write({"run": run, **DATA, "split": "test", "seeds": [*results], "results": results})
    return study.path


def test_pairs_of_studies_are_compared_with_a_correction_and_in_words(tmp_path):
    draws = np.random.default_rng(0).normal(0.9, 0.01, (2, 10))
    long, twin = (
        study_of(tmp_path, n, d, 10 * (n == "twin"))
        for n, d in zip(("long", "twin"), draws, strict=True)
    )
    short = study_of(tmp_path, "short", draws[0] - 0.1, epochs=30)
    result = compare_studies([long, twin])
    (pair,) = result["pairs"]
    single = welch(*draws)
    assert pair["test.fused.top1"] == {**single, "within_noise": True} and pair["recipes"] == {}
    result = compare_studies([long, twin, short], ["test.fused.top1", "val_loss"])
    found = [pair["test.fused.top1"] for pair in result["pairs"]]
    assert [each["within_noise"] for each in found] == [True, False, False]
    # The largest of three p-values stays, the smallest is multiplied by three.
    assert np.isclose(found[0]["p"], single["p"])
    assert np.isclose(
        min(each["p"] for each in found),
        3 * min(welch(draws[0], draws[0] - 0.1)["p"], welch(draws[1], draws[0] - 0.1)["p"]),
    )
    text = comparison_table(result)
    assert "long and short differ in optimization.epochs 60 and 30." in text
    assert "Seeds 0:10 are in both" not in text
    assert re.search(r"short - long: -0\.1000 \(95 % interval .*\), not within noise \(p = ", text)
    assert re.search(r"twin - long: .*, within noise \(p = ", text)
    same = comparison_table(compare_studies([long, study_of(tmp_path, "same", draws[0])]))
    assert "Seeds 0:10 are in both" in same and "+0.0000" in same and "p = 1" in same


def test_studies_that_cannot_be_compared_are_refused_in_one_line(tmp_path):
    first = study_of(tmp_path, "first", [0.5, 0.6])
    other = study_of(tmp_path, "other", [0.5, 0.6])
    config = json.loads((other / "seeds.json").read_text())
    config["examples"] = {**config["examples"], "test": 10}
    write_json(other / "seeds.json", config)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    for paths, figures, words in (
        ([first], (), "two studies"),
        ([first, first], (), "given twice"),
        ([first, other], (), r"other data.*test 10\)"),
        ([first, run], (), "run of one seed"),
        ([first, tmp_path / "none"], (), "not a study"),
        ([first, study_of(tmp_path, "one", [0.5])], (), "one seed, which"),
        ([first, study_of(tmp_path, "more", [0.5, 0.6])], ("top1",), r"test\.fused\.top1"),
    ):
        with pytest.raises(InputError, match=words) as error:
            compare_studies(paths, figures)
        assert "\n" not in str(error.value)
