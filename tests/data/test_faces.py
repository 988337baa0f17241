"""Faces of videos: which files are written, which split each video gets, and what is refused."""

import json
import os
import shutil
import sys

import cv2
import numpy as np
import pytest
from face_videos import FRAMES, photograph, write_video, write_videos
from skimage import data

from keras_deit.core.errors import InputError
from keras_deit.data import faces as faces_module
from keras_deit.data import load_dataset
from keras_deit.data.face_record import FaceOptions, video_of
from keras_deit.data.faces import FoundFaces, extract_faces, summary_lines
from keras_deit.data.videos import read_frames

OPTIONS = FaceOptions(image_size=32, frames=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Four real and four forged videos, and one without a face."""
    root = tmp_path_factory.mktemp("videos")
    write_videos(root, 4)
    write_video(root / "real" / "coffee.avi", cv2.resize(data.coffee(), (128, 128)), seed=9)
    (root / "fake" / "list.txt").write_text("fake")
    return root


@pytest.fixture(scope="module")
def extracted(videos, tmp_path_factory):
    output = tmp_path_factory.mktemp("faces") / "out"
    return output, extract_faces(videos, output, OPTIONS)


def files(output):
    return sorted(str(path.relative_to(output)) for path in output.rglob("*.jpg"))


def test_each_video_is_in_one_split_with_a_face_of_each_frame(extracted):
    output, found = extracted
    names = files(output)
    assert len(names) == 8 * 2
    assert {name.rpartition("__frame_")[2] for name in names} == {"000000.jpg", "000003.jpg"}
    by_video = {}
    for name in names:
        split, class_name, file = name.split("/")
        assert file.startswith(f"{class_name}_")
        by_video.setdefault(file.partition("__frame_")[0], set()).add(split)
    assert len(by_video) == 8 and all(len(splits) == 1 for splits in by_video.values())
    for class_name in ("real", "fake"):
        counts = {split: found.counts[split, class_name] for split in ("train", "validation")}
        assert counts == {"train": (2, 4), "validation": (1, 2)}
        assert found.counts["test", class_name] == (1, 2)
    face = cv2.imread(str(output / names[0]))
    assert face.shape == (32, 32, 3) and face.std() > 20


def test_a_video_without_a_face_is_named(extracted):
    _, found = extracted
    assert found.without_face == ["real/coffee.avi"]
    lines = list(summary_lines(found))
    assert "train       fake: 4 faces of 2 videos" in lines
    assert "Left out, 1 video without a face: real/coffee.avi." in lines
    assert any(line.startswith("Not used: 1 file besides videos, such as ") for line in lines)


def test_the_faces_are_a_data_set_with_these_splits(extracted):
    output, _ = extracted
    dataset = load_dataset(f"folder:{output}")
    assert dataset.class_names == ("fake", "real")
    assert dataset.examples == {"train": 8, "validation": 4, "test": 4}
    of = {
        split: {video_of(path).rpartition("/")[2] for path in getattr(dataset, split).paths}
        for split in dataset.examples
    }
    assert not of["train"] & of["test"] and not of["train"] & of["validation"]
    assert not of["validation"] & of["test"]


def test_the_crop_is_around_the_face(extracted):
    image = photograph()
    box = faces_module._detector()(image)
    top, left, height, width = box
    # The astronaut's face, whose nose is near row 60 and column 63.
    assert top < 55 < top + height and left < 63 < left + width
    crop = faces_module._crop(image, box, FaceOptions(image_size=round(1.5 * height), margin=0.5))
    assert crop.shape == (round(1.5 * height),) * 2 + (3,)


def test_it_goes_on_where_it_was_stopped(videos, extracted, tmp_path, monkeypatch):
    complete, _ = extracted
    calls, original = [], faces_module._extract

    def stopped(video, *rest):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(video.name)
        original(video, *rest)

    monkeypatch.setattr(faces_module, "_extract", stopped)
    with pytest.raises(KeyboardInterrupt):
        extract_faces(videos, tmp_path / "out", OPTIONS)
    assert not list((tmp_path / "out").glob("*.tmp"))
    # A file that was not written yet is written, and what is done is not done again.
    removed = next((tmp_path / "out").rglob("*.jpg"))
    removed.unlink()
    monkeypatch.setattr(
        faces_module,
        "_extract",
        lambda video, *rest: (calls.append(video.name), original(video, *rest)),
    )
    lines = []
    extract_faces(videos, tmp_path / "out", OPTIONS, print_fn=lines.append)
    assert lines == ["Done already: 3 of 9 videos."]
    assert len(calls) == 10 and len(set(calls)) == 9
    assert files(tmp_path / "out") == files(complete)
    # A line that was not written to its end is left out.
    (tmp_path / "out" / "faces.jsonl").open("a").write('{"video": "re')
    extract_faces(videos, tmp_path / "out", OPTIONS)
    assert len(record(tmp_path / "out")) == 9
    before = (tmp_path / "out" / "faces.jsonl").read_text()
    extract_faces(videos, tmp_path / "out", OPTIONS)
    assert (tmp_path / "out" / "faces.jsonl").read_text() == before
    with pytest.raises(InputError, match=r"made with other options: .*'image_size': 32"):
        extract_faces(videos, tmp_path / "out", FaceOptions(frames=2))


def test_new_videos_do_not_move_the_old_ones(videos, extracted, tmp_path):
    folder, output = tmp_path / "videos", tmp_path / "out"
    write_videos(folder, 3)
    extract_faces(folder, output, OPTIONS)
    splits = {name: v["split"] for name, v in record(output).items()}
    write_videos(folder, 5)
    extract_faces(folder, output, OPTIONS)
    later = {name: v["split"] for name, v in record(output).items()}
    assert splits.items() <= later.items() and len(later) == 10
    counts = [list(later.values()).count(split) for split in ("train", "validation", "test")]
    assert counts == [6, 2, 2]


def record(output):
    _, *videos = map(json.loads, (output / "faces.jsonl").read_text().splitlines())
    return {values["video"]: values for values in videos}


def test_splits_of_the_videos_are_kept_and_a_missing_one_is_held_out_of_train(tmp_path):
    write_videos(tmp_path / "videos", 2, "train")
    write_videos(tmp_path / "videos", 1, "val")
    found = extract_faces(tmp_path / "videos", tmp_path / "out", OPTIONS)
    assert {split: n for (split, c), (n, _) in found.counts.items() if c == "real"} == {
        "train": 2,
        "validation": 1,
    }
    (tmp_path / "videos" / "val").rename(tmp_path / "videos" / "test")
    found = extract_faces(tmp_path / "videos", tmp_path / "held", OPTIONS)
    assert {split: n for (split, c), (n, _) in found.counts.items() if c == "fake"} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }


def test_bad_input_is_one_line(videos, tmp_path):
    def error(folder, **options):
        with pytest.raises(InputError) as raised:
            extract_faces(folder, tmp_path / "out", OPTIONS, **options)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    (tmp_path / "none" / "real").mkdir(parents=True)
    assert "No videos in" in error(tmp_path / "none")
    assert "No such folder" in error(tmp_path / "missing")
    write_video(tmp_path / "loose" / "a.avi", photograph(), 0)
    message = error(tmp_path / "loose")
    assert "1 video, " in message and "a.avi. Expected CLASS/*.mp4." in message
    write_videos(tmp_path / "few", 2)
    assert "The class 'fake' has 2 videos to train on, and at least 3" in error(tmp_path / "few")
    for name in ("real", "fake"):
        for index in range(3):
            write_video(
                tmp_path / "empty" / name / f"{index}.avi",
                np.zeros((128, 128, 3), np.uint8),
                index,
                2,
            )
    assert "No face in 6 videos, as far as" in error(tmp_path / "empty")
    assert not (tmp_path / "out" / "train").exists()


def test_an_unreadable_video_fails_at_once_or_is_skipped(tmp_path):
    write_videos(tmp_path / "videos", 3)
    (tmp_path / "videos" / "real" / "broken.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(InputError, match=r"1 unreadable video: .*broken\.mp4"):
        extract_faces(tmp_path / "videos", tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()
    found = extract_faces(tmp_path / "videos", tmp_path / "out", OPTIONS, on_bad_video="skip")
    assert found.unreadable == ["real/broken.mp4"]
    assert "Left out, 1 video that cannot be read: real/broken.mp4." in list(summary_lines(found))


def test_frames_are_at_equal_distances(videos):
    path = str(videos / "real" / "real_0.avi")
    assert [index for index, _ in read_frames(path, 2)] == [0, FRAMES - 1]
    assert [index for index, _ in read_frames(path, 100)] == list(range(FRAMES))
    # FFmpeg may round the colors of a compressed frame a little differently.
    _, frame = next(read_frames(path, 1))
    assert frame.shape == (128, 128, 3) and np.abs(frame.astype(int) - photograph()).mean() < 20


def test_a_name_that_is_not_utf_8(videos, tmp_path):
    path = os.fsdecode(b"caf\xe9.avi")
    shutil.copy(videos / "real" / "real_0.avi", tmp_path / path)
    assert len(list(read_frames(str(tmp_path / path), 2))) == 2
    found = FoundFaces({}, [path], [path], [])
    assert [line.count("café.avi") for line in summary_lines(found)] == [1, 1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"image_size": 0}, "image_size should be 1 or more"),
        ({"frames": 0}, "frames should be 1 or more"),
        ({"margin": -0.1}, "margin should be 0 or more"),
        ({"quality": 101}, "quality should be 1 to 100"),
    ],
)
def test_options_out_of_range(values, expected):
    with pytest.raises(InputError, match=expected):
        FaceOptions(**values)


@pytest.mark.parametrize(
    ("name", "video"),
    [("a/b.mp4__frame_000012.jpg", "a/b.mp4"), ("a__frame_x.jpg", None), ("a.jpg", None)],
)
def test_the_name_of_a_file_says_its_video(name, video):
    assert video_of(name) == video


def test_without_scikit_image_the_extra_is_named(videos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(InputError, match=r"pip install 'keras-deit\[faces\]'"):
        extract_faces(videos, tmp_path / "out", OPTIONS)
