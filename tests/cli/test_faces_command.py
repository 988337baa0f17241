"""From videos to the figures of videos: faces, train and evaluate, with a tiny model."""

import json
import os
import signal
import time

import numpy as np
import pytest
from commands import call, start_command
from face_videos import write_videos

from keras_deit.core.errors import InputError

SMALL = (
    *("--model=cvit_224", "--recipe=cvit", "--image_size=16", "--patch_size=2", "--embed_dim=8"),
    *("--depth=1", "--num_heads=2", "--stem_depths=1,1", "--stem_channels=4,8"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_videos(folder / "videos", 4)
    return folder


@pytest.fixture(scope="module")
def faces(folder):
    output = folder / "faces"
    text = call("faces", folder / "videos", "--out", output, "--image_size=32", "--frames=3").stdout
    assert "Faces are found by scikit-image's cascade" in text
    assert "train       fake: 6 faces of 2 videos" in text
    assert f"Written: --dataset folder:{output}" in text
    return output


@pytest.fixture(scope="module")
def run(folder, faces):
    run_dir = folder / "run"
    text = call(
        *("train", f"--dataset=folder:{faces}", *SMALL, "--epochs=2", "--batch_size=4"),
        f"--run_dir={run_dir}",
    ).stdout
    assert "Test split, 6 images" in text
    return run_dir


def test_a_run_is_evaluated_by_video(run, folder):
    text = call("evaluate", f"--run_dir={run}", "--group_by=video").stdout
    assert "test split, 6 images" in text
    assert "By video, 2 videos:" in text
    videos = json.loads((run / "evaluation.json").read_text())["videos"]
    assert videos["examples"] == 2
    assert {"top1", "log_loss", "macro_auc"} <= set(videos["figures"]["class"])


def test_the_run_has_the_recipes_training(run):
    identity = json.loads((run / "config.json").read_text())["run"]
    assert identity["monitor"] == "loss"


def test_figures_of_videos_need_names_of_videos(run, tmp_path):
    from PIL import Image

    for split, name in (("train", "real"), ("train", "fake"), ("test", "real"), ("test", "fake")):
        (tmp_path / split / name).mkdir(parents=True)
        for index in range(10):
            image = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
            image.save(tmp_path / split / name / f"{index}.jpg")
    with pytest.raises(InputError, match=r"should be VIDEO__frame_NUMBER\.jpg.*fake/0\.jpg"):
        call("evaluate", f"--run_dir={run}", f"--dataset=folder:{tmp_path}", "--group_by=video")
    with pytest.raises(InputError, match="images that are no files"):
        call(
            *("evaluate", f"--run_dir={run}", f"--dataset=folder:{tmp_path}"),
            *("--group_by=video", "--split=validation"),
        )


def test_an_image_size_that_does_not_fit_the_stem_is_one_line(faces):
    with pytest.raises(InputError, match="image_size 20 is not a multiple of the pixels per patch"):
        call("train", f"--dataset=folder:{faces}", *SMALL, "--image_size=20", "--run_dir=none")


@pytest.mark.slow
def test_ctrl_c_leaves_a_folder_that_the_same_command_completes(folder, faces, tmp_path):
    """Every file in the folder is complete, and the splits are those without a stop."""
    arguments = ("faces", folder / "videos", "--out", "faces", "--image_size=32", "--frames=3")
    process = start_command(tmp_path, *arguments, backend="jax")
    record = tmp_path / "faces" / "faces.jsonl"
    while process.poll() is None and (not record.is_file() or "real" not in record.read_text()):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors.strip().splitlines()[-1:]) in (
        (130, ["Interrupted. The same command goes on from there."]),
        (0, []),
    )
    call("faces", folder / "videos", "--out", tmp_path / "faces", *arguments[4:])
    files = [
        sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
        for root in (faces, tmp_path / "faces")
    ]
    assert files[0] == files[1]
