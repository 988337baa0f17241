"""Faces of videos as a folder of images: one face of a frame, some frames of a video.

The detector is the cascade of local binary patterns that scikit-image ships, for faces seen from
the front. No video is in two splits: each gets one when it has shown a face, and a file in the
output folder remembers it.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from keras_deit.core.errors import InputError, not_installed, unknown_name
from keras_deit.core.files import exclusive_lock, temporary_folder
from keras_deit.core.progress import Progress
from keras_deit.data.face_record import SHARES, FaceOptions, FaceRecord
from keras_deit.data.folder_files import listed
from keras_deit.data.videos import (
    Video,
    counted,
    find_videos,
    read_frames,
    shown,
    unreadable_videos,
)

DETECTOR = "scikit-image's cascade of local binary patterns"

_POLICIES = ("fail", "skip")
# The longer side in pixels of a frame in which faces are looked for, and the smallest face.
_SEARCHED_SIDE = 384
_SMALLEST_FACE = 32


@dataclasses.dataclass
class FoundFaces:
    """What `extract_faces` has written.

    Attributes:
        counts: by split and class, the number of videos and of faces.
        without_face: names of the videos in which no face was found.
        unreadable: names of the videos that were skipped because they cannot be decoded.
        notes: lines for the user.
    """

    counts: dict[tuple[str, str], tuple[int, int]]
    without_face: list[str]
    unreadable: list[str]
    notes: list[str]


def extract_faces(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    options: FaceOptions | None = None,
    on_bad_video: str = "fail",
    print_fn: Callable[[str], None] = print,
) -> FoundFaces:
    """Writes the faces of videos as OUTPUT/SPLIT/CLASS/VIDEO__frame_000012.jpg.

    Without folders for splits, 70 % of the videos of each class are for training, 10 % for
    validation and 20 % for test; with them, a missing one is held out of train as `load_folder`
    does with images, but by whole videos. What is done is in OUTPUT/faces.jsonl: a further call
    goes on after the last finished video, and takes in videos that are new.

    Args:
        folder: CLASS/*.mp4, or train/CLASS/*.mp4 with the other splits beside; such as "real" and
            "fake".
        output: folder for the faces, which is made.
        options: how they are cropped.
        on_bad_video: "fail" or "skip", for videos that cannot be decoded.
        print_fn: called with lines for the user.

    Raises:
        InputError: there are no videos, some cannot be read, a class has too few videos for its
            splits or no face at all, the output was made with other options, or scikit-image is
            not installed.
    """
    root, output = Path(folder).expanduser(), Path(output).expanduser()
    if on_bad_video not in _POLICIES:
        raise unknown_name("policy for bad videos", on_bad_video, _POLICIES)
    options = options or FaceOptions()
    detect = _detector()
    videos, others = find_videos(root)
    splits = {video.split for video in videos} - {None}
    missing = _missing_splits(splits)
    _check_enough(videos, missing)
    unreadable = unreadable_videos(videos)
    if unreadable and on_bad_video == "fail":
        raise InputError(
            f"{counted(len(unreadable), 'unreadable video')}: {shown(unreadable)}. "
            'Repair or remove them, or give on_bad_video "skip".'
        )
    names = {video.name for video in unreadable}
    videos = [video for video in videos if video.name not in names]
    output.mkdir(parents=True, exist_ok=True)
    lock = output / ".lock"
    with exclusive_lock(lock, lambda holder: print_fn(f"Waiting for {holder}.")):
        record = FaceRecord(output, options)
        remaining = sorted((v for v in videos if not record.is_done(v)), key=_shuffled)
        done = len(videos) - len(remaining)
        if done:
            print_fn(f"Done already: {done} of {counted(len(videos), 'video')}.")
        with Progress("Cropping faces", len(videos), "video", done) as progress:
            for video in remaining:
                _extract(video, detect, record, missing)
                progress.update(1)
        lock.unlink(missing_ok=True)
    found = FoundFaces(
        record.counts(videos),
        [video.name for video in videos if not record.frames(video)],
        [video.name for video in unreadable],
        [f"{counted(len(others), 'file')} besides videos, such as {min(others)}"] if others else [],
    )
    _check_found(found, videos, [*splits, *missing] if splits else missing)
    return found


def _extract(video: Video, detect, record: FaceRecord, missing: list[str]) -> None:
    options = record.options
    with temporary_folder(record.output) as folder:
        frames = []
        for index, frame in read_frames(video.path, options.frames):
            if (box := detect(frame)) is None:
                continue
            face = _crop(frame, box, options)
            quality = [int(cv2.IMWRITE_JPEG_QUALITY), options.quality]
            encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), quality)[1]
            (folder / str(index)).write_bytes(encoded.tobytes())
            frames.append(index)
        split = record.split(video) or _split_of(video, record, missing)
        # Before the files get their names, so that a video never changes its split.
        record.add(video, split if frames else None, frames)
        for index in frames:
            path = record.path(video, index)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder / str(index), path)


def _split_of(video: Video, record: FaceRecord, missing: list[str]) -> str:
    """Returns the split of a video: the first of its class get one each, and then the one whose
    share is the furthest from full."""
    if video.split is not None and video.split != "train":
        return video.split
    allowed = [split for split in SHARES if split in ("train", *missing)]
    counts = {split: record.number_of_videos(video.class_name, split) for split in allowed}
    for split in allowed:
        if not counts[split]:
            return split
    whole = sum(SHARES[split] for split in allowed)
    total = sum(counts.values()) + 1
    return max(allowed, key=lambda split: total * SHARES[split] / whole - counts[split])


def _missing_splits(splits: set[str]) -> list[str]:
    """Returns the splits that are held out of train, as `load_folder` would hold them out."""
    if "validation" in splits:
        return []
    return ["validation"] if "test" in splits else ["test", "validation"]


def _check_enough(videos: list[Video], missing: list[str]) -> None:
    """Checks that each class can be in each split with videos of its own."""
    needed = 1 + len(missing)
    for class_name in sorted({video.class_name for video in videos}):
        own = [v for v in videos if v.class_name == class_name and v.split in (None, "train")]
        if len(own) < needed:
            raise InputError(
                f"The class {class_name!r} has {counted(len(own), 'video')} to train on, and at "
                f"least {needed} are needed so that {' and '.join(['train', *sorted(missing)])} "
                "have different ones."
                if missing
                else f"The class {class_name!r} has no videos to train on."
            )


def _check_found(found: FoundFaces, videos: list[Video], splits: list[str]) -> None:
    if not found.counts:
        raise InputError(
            f"No face in {counted(len(videos), 'video')}, as far as {DETECTOR} finds them."
        )
    for split in sorted({"train", *splits}):
        for class_name in sorted({video.class_name for video in videos}):
            if (split, class_name) not in found.counts:
                without = [v for v in found.without_face if f"{class_name}/" in v]
                raise InputError(
                    f"{split} has no faces of the class {class_name!r}: it needs more videos with "
                    f"faces. Without a face: {listed(without) or 'none'}."
                )


def _shuffled(video: Video) -> str:
    """Returns a key that sorts videos in an order that has nothing to do with their names."""
    return hashlib.sha256(video.name.encode("utf-8", "surrogateescape")).hexdigest()


Box = tuple[float, float, float, float]


def _detector() -> Callable[[np.ndarray], Box | None]:
    """Returns a function from a frame to the box of its largest face: top, left, height, width.

    Raises:
        InputError: scikit-image is not installed.
    """
    try:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade
    except ImportError as error:
        raise not_installed(
            "Finding faces", "faces", "Faces that are cropped already need no command."
        ) from error
    cascade = Cascade(lbp_frontal_face_cascade_filename())

    def detect(frame: np.ndarray) -> Box | None:
        scale = min(_SEARCHED_SIDE / max(frame.shape[:2]), 1.0)
        small = frame
        if scale < 1:
            small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        smallest, largest = _SMALLEST_FACE, min(small.shape[:2])
        if largest < smallest:
            return None
        boxes = cascade.detect_multi_scale(
            img=small,
            scale_factor=1.2,
            step_ratio=1,
            min_size=(smallest, smallest),
            max_size=(largest, largest),
        )
        found = [[box[key] / scale for key in ("r", "c", "height", "width")] for box in boxes]
        return max(map(tuple, found), key=lambda box: box[2] * box[3], default=None)

    return detect


def _crop(frame: np.ndarray, box: Box, options: FaceOptions) -> np.ndarray:
    """Returns the square around a box, moved into the frame, at the size of the crops."""
    height, width = frame.shape[:2]
    top, left, box_height, box_width = box
    side = round(max(box_height, box_width) * (1 + options.margin))
    side = min(side, height, width)
    row = round(min(max(top + box_height / 2 - side / 2, 0), height - side))
    column = round(min(max(left + box_width / 2 - side / 2, 0), width - side))
    face = frame[row : row + side, column : column + side]
    shrinks = side > options.image_size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(face, (options.image_size,) * 2, interpolation=interpolation)


def summary_lines(found: FoundFaces) -> Iterator[str]:
    """Yields what was found, in lines for the user."""
    for (split, class_name), (videos, faces) in found.counts.items():
        yield f"{split:12}{class_name}: {counted(faces, 'face')} of {counted(videos, 'video')}"
    for what, names in (
        ("without a face", found.without_face),
        ("that cannot be read", found.unreadable),
    ):
        if names:
            yield f"Left out, {counted(len(names), 'video')} {what}: {listed(names)}."
    for note in found.notes:
        yield f"Not used: {note}."
