"""What is known of the faces of videos: how they are cropped, which files and splits they have."""

import collections
import dataclasses
import json
import os
import re
from pathlib import Path

from keras_deit.core.errors import InputError, corrupt_as_input_error
from keras_deit.core.files import atomic_write, parse_json
from keras_deit.data.splits import TEST_PERCENT, VALIDATION_PERCENT
from keras_deit.data.videos import Video

_RECORD = "faces.jsonl"
_FORMAT = 1
# Between the name of a video and the number of its frame.
_FRAME = re.compile(r"(.+)__frame_\d+\.jpg")
# The order in which the first videos of a class get their splits, with the shares of all.
SHARES = {
    "train": 100 - TEST_PERCENT - VALIDATION_PERCENT,
    "test": TEST_PERCENT,
    "validation": VALIDATION_PERCENT,
}


@dataclasses.dataclass(frozen=True)
class FaceOptions:
    """How faces are cropped.

    Attributes:
        image_size: side of a crop in pixels.
        frames: number of frames of a video in which a face is looked for, at equal distances.
        margin: how much longer the side of a crop is than that of the detected face, as a fraction.
        quality: quality of the JPEG files, 1 to 100.

    Raises:
        InputError: a value is out of range.
    """

    image_size: int = 224
    frames: int = 30
    margin: float = 0.3
    quality: int = 85

    def __post_init__(self):
        for name in ("image_size", "frames"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} should be 1 or more. Received: {getattr(self, name)}")
        if self.margin < 0:
            raise InputError(f"margin should be 0 or more. Received: {self.margin}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"quality should be 1 to 100. Received: {self.quality}")


def video_of(path: str) -> str | None:
    """Returns the video that a file of `extract_faces` is of: its path up to the number of the
    frame. None if the file has another name."""
    found = _FRAME.fullmatch(path)
    return found and found[1]


class FaceRecord:
    """The file in the output folder that says which videos are done, and their splits.

    Each of its lines is a JSON object: the options, then a video at a time; of a video that has
    several the last one counts.
    """

    def __init__(self, output: Path, options: FaceOptions):
        self.output, self.options = output, options
        self._file = output / _RECORD
        self._videos: dict[str, dict] = {}
        # By class and split, the number of videos.
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        header = {"format": _FORMAT, "options": dataclasses.asdict(options)}
        if not self._file.is_file():
            self._append(header)
            return
        text = self._file.read_text("utf-8")
        complete = text[: text.rfind("\n") + 1]
        with corrupt_as_input_error(f"{self._file} is corrupt"):
            first, *rest = map(parse_json, complete.splitlines())
            if first != header:
                raise InputError(
                    f"{output} holds faces that were made with other options: "
                    f"{first.get('options')}. Give these, or another output folder."
                )
            for values in rest:
                self._take(values)
        if complete != text:
            # The process was killed while it wrote the last line.
            with atomic_write(self._file) as path:
                path.write_text(complete, "utf-8")

    def frames(self, video: Video) -> list[int]:
        return self._videos.get(video.name, {}).get("frames", [])

    def split(self, video: Video) -> str | None:
        return self._videos.get(video.name, {}).get("split")

    def is_done(self, video: Video) -> bool:
        if video.name not in self._videos:
            return False
        return all(self.path(video, index).is_file() for index in self.frames(video))

    def path(self, video: Video, index: int) -> Path:
        folder = self.output / self.split(video) / video.class_name
        return folder / f"{video.inner}__frame_{index:06d}.jpg"

    def add(self, video: Video, split: str | None, frames: list[int]) -> None:
        values = {"video": video.name, "class": video.class_name, "split": split, "frames": frames}
        self._append(values)
        self._take(values)

    def number_of_videos(self, class_name: str, split: str) -> int:
        """Returns how many videos of a class with faces are in a split."""
        return self._counts[class_name, split]

    def counts(self, videos: list[Video]) -> dict[tuple[str, str], tuple[int, int]]:
        """Returns by split and class how many of these videos have faces, and the faces."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for video in videos:
            if frames := self.frames(video):
                key = (self.split(video), video.class_name)
                count, faces = found.get(key, (0, 0))
                found[key] = (count + 1, faces + len(frames))
        return dict(sorted(found.items(), key=lambda pair: (list(SHARES).index(pair[0][0]), pair)))

    def _take(self, values: dict) -> None:
        before = self._videos.get(values["video"], {})
        for known, change in ((before, -1), (values, 1)):
            if known.get("split"):
                self._counts[known["class"], known["split"]] += change
        self._videos[values["video"]] = values

    def _append(self, values: dict) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
            file.flush()
            os.fsync(file.fileno())
