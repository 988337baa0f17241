"""Video files below a folder, and some of the frames of each."""

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.core.files import named
from keras_deit.core.names import printable, readable
from keras_deit.core.progress import Progress
from keras_deit.data.folder_files import files_below, listed, split_of

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp"),
)


@dataclasses.dataclass(frozen=True)
class Video:
    """A video file.

    Attributes:
        path: path of the file.
        name: path below the folder, with "/" between folders.
        class_name: name of its class.
        split: "train", "validation" or "test"; None if its folder does not say it.
        inner: path of the file below the folder of the class.
    """

    path: str
    name: str
    class_name: str
    split: str | None
    inner: str


def find_videos(root: Path) -> tuple[list[Video], list[str]]:
    """Finds the videos below a folder: CLASS/*.mp4, or train/CLASS/*.mp4 and other splits beside.

    Args:
        root: the folder.

    Returns:
        The videos in the order of their names, and the other files, hidden ones excluded.

    Raises:
        InputError: there are no videos, some have no class, or there is one class alone.
    """
    if not root.is_dir():
        raise InputError(f"No such folder: {str(root)!r}. Give a folder of CLASS/*.mp4.")
    videos, others, misplaced = [], [], []
    names = {entry.name for entry in root.iterdir() if entry.is_dir()}
    has_splits = any(split_of(name) == "train" for name in names)
    for path in files_below(str(root)):
        parts = Path(path).relative_to(root).parts
        if any(part.startswith(".") for part in parts):
            continue
        if not path.lower().endswith(VIDEO_SUFFIXES):
            others.append(path)
            continue
        split = split_of(parts[0]) if has_splits else None
        below = parts[1:] if has_splits else parts
        if len(below) < 2 or (has_splits and split is None):
            misplaced.append(path)
            continue
        videos.append(Video(path, "/".join(parts), below[0], split, os.path.join(*below[1:])))
    layout = "train/CLASS/*.mp4" if has_splits else "CLASS/*.mp4"
    if misplaced:
        raise InputError(
            f"Without a class in {root}: {counted(len(misplaced), 'video')}, "
            f"{listed(misplaced)}. Expected {layout}."
        )
    if not videos:
        raise InputError(f"No videos in {root}: expected {layout}, or {', '.join(VIDEO_SUFFIXES)}.")
    classes = sorted({video.class_name for video in videos})
    if len(classes) == 1:
        raise InputError(f"{root} has one class, {classes[0]!r}: at least two are needed.")
    return sorted(videos, key=lambda video: video.name), others


def read_frames(path: str, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields frames at equal distances, the first frame among them.

    Args:
        path: path of the video.
        count: how many frames; all of them if it has no more.

    Yields:
        The index of a frame, and its pixels, uint8 RGB (height, width, 3); nothing if none can be
        decoded.
    """
    last = max(_length(path) - 1, 0) if count > 1 else 0
    wanted = set(np.linspace(0, last, count).round().astype(int).tolist())
    capture = _open(path)
    try:
        # Seeking is inexact in many files.
        for index in range(max(wanted) + 1):
            if not capture.grab():
                return
            if index in wanted:
                decoded, frame = capture.retrieve()
                if decoded and frame is not None:
                    yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _length(path: str) -> int:
    """Returns the number of frames, counted if the file does not say it."""
    capture = _open(path)
    try:
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if stated > 0:
            return stated
        length = 0
        while capture.grab():
            length += 1
        return length
    finally:
        capture.release()


def _open(path: str) -> cv2.VideoCapture:
    # What FFmpeg writes about a damaged file is no line for a user.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if readable(path) == path:
        return cv2.VideoCapture(path)
    # OpenCV ends the process at a name that is not UTF-8.
    with named(Path(path), readable(os.path.basename(path))) as link:
        return cv2.VideoCapture(str(link))


def unreadable_videos(videos: list[Video]) -> list[Video]:
    """Returns the videos of which no frame can be decoded."""
    unreadable = []
    with (
        ThreadPoolExecutor() as pool,
        Progress("Checking videos", len(videos), "video") as progress,
    ):
        for video, readable in zip(videos, pool.map(_is_readable, videos), strict=True):
            if not readable:
                unreadable.append(video)
            progress.update(1)
    return unreadable


def _is_readable(video: Video) -> bool:
    return next(read_frames(video.path, 1), None) is not None


def counted(count: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 video" or "2 videos"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def shown(videos: list[Video]) -> str:
    """Returns the names of videos, the first of many."""
    return listed([printable(video.path) for video in videos])
