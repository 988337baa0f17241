"""`keras-deit train --seeds` with real trainings, and `keras-deit compare`."""

import json
import re
import time

import pytest
from commands import SMALL, call, run_process, start_command

_TRAIN = ("train", "--distillation=none", "--epochs=8", "--batch_size=400", "--seeds=0:2", *SMALL)


@pytest.mark.slow
def test_a_study_whose_process_is_killed_stops_and_goes_on(tmp_path):
    arguments = (*_TRAIN, "--run_dir=study", "--checkpoint_seconds=0")
    process = start_command(tmp_path, *arguments, backend="torch")
    study = tmp_path / "study"
    while not any(study.glob("seed_0/checkpoints/epoch-*")):
        assert process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.05)
    process.kill()
    process.communicate()
    end, log = time.monotonic() + 60, study / "seed_0.log"
    # Its training saves and ends although nobody has told it to.
    while not re.search(r"^Stopped in epoch", log.read_text(), re.M):
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.05)
    output = run_process(tmp_path, *arguments, backend="torch")
    assert "Resuming from" in log.read_text()
    results = json.loads((study / "seeds.json").read_text())["results"]
    for seed in ("0", "1"):
        summary = json.loads((study / f"seed_{seed}" / "summary.json").read_text())
        assert results[seed]["test.fused.top1"] == summary["test"]["fused"]["top1"]
    assert results["0"] != results["1"]
    assert re.search(r"^Seed 1: test\.fused\.top1 0\.\d{4}, val_accuracy", output.stdout, re.M)
    top1 = [row["test.fused.top1"] for row in results.values()]
    table = rf"^test\.fused\.top1 +{sum(top1) / 2:.4f} .* {max(top1):.4f}$"
    assert re.search(table, output.stdout, re.M)


def test_compare_prints_and_writes_what_it_has_found(tmp_path):
    for name, values in (("long", (0.91, 0.92, 0.93)), ("short", (0.7, 0.72, 0.73))):
        results = {str(seed): {"val_accuracy": value} for seed, value in enumerate(values)}
        run = {"dataset": "digits", "optimization": {"epochs": {"long": 60}.get(name, 30)}}
        study = {"format": 1, "run": run, "data": None, "class_names": ["0", "1"], "split": "test"}
        study |= {"examples": {"test": 3}, "seeds": [0, 1, 2], "results": results}
        (tmp_path / name).mkdir()
        (tmp_path / name / "seeds.json").write_text(json.dumps(study))
    output = tmp_path / "out" / "found.json"
    printed = call("compare", tmp_path / "long", tmp_path / "short", f"--output={output}").stdout
    assert "long and short differ in optimization.epochs 60 and 30." in printed
    assert "short - long: -0.2033 (95 % interval" in printed and "not within noise" in printed
    found = json.loads(output.read_text())
    assert found["pairs"][0]["val_accuracy"]["within_noise"] is False
