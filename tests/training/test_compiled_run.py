"""A run whose steps TensorFlow compiles; other tests of runs do without."""

import pytest
from run_files import Killed, before_call, kill, quiet, result_bits

from keras_deit.training import train_job

pytestmark = pytest.mark.slow


def test_a_compiled_run_that_is_killed_ends_like_one_that_is_not(tiny_job, tmp_path, monkeypatch):
    job = tiny_job(
        {"optimizer": "lamb", "ema_decay": 0.75},
        {"checkpoint_seconds": 0.0},
        model_values={"drop_path_rate": 0.3, "dropout_rate": 0.1},
    )
    whole = train_job(job, str(tmp_path / "whole"), quiet)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        before_call(patch, "step_ends", 4, kill)
        train_job(job, str(tmp_path / "killed"), quiet)
    lines = []
    resumed = train_job(job, str(tmp_path / "killed"), lines.append)
    assert any("epoch 2, step 1" in line for line in lines)
    assert result_bits(resumed) == result_bits(whole)
