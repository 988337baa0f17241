"""The command that crops the faces of videos."""

import dataclasses
from typing import get_args

from keras_deit.core.errors import InputError
from keras_deit.core.files import check_writable, user_path
from keras_deit.data.face_record import FaceOptions
from keras_deit.data.faces import DETECTOR, extract_faces, summary_lines
from keras_deit.recipes import Option
from keras_deit.training import OnProblem

_DEFAULTS = FaceOptions()


def faces_options() -> list[Option]:
    return [
        Option("out", str, "Folder for the faces, as SPLIT/CLASS/*.jpg.", required=True),
        Option(
            "image_size", int, "Side of a face in pixels.", default=_DEFAULTS.image_size, minimum=1
        ),
        Option(
            "frames",
            int,
            "Frames of a video in which a face is looked for.",
            default=_DEFAULTS.frames,
            minimum=1,
        ),
        Option(
            "margin",
            float,
            "How much longer the side of a face is than the detected one, as a fraction.",
            default=_DEFAULTS.margin,
        ),
        Option("quality", int, "Quality of the JPEG files, 1 to 100.", default=_DEFAULTS.quality),
        Option(
            "on_bad_video",
            str,
            "What to do at a video that cannot be read.",
            get_args(OnProblem),
            default="fail",
        ),
    ]


def faces(values: dict) -> None:
    """Writes the faces of videos and prints how many there are."""
    folder, *others = values["folder"]
    if others:
        raise InputError(f"Give one folder of videos. Received: {others[0]}, too")
    output = user_path(values["out"])
    check_writable(output / "faces.jsonl")
    options = FaceOptions(**{f.name: values[f.name] for f in dataclasses.fields(FaceOptions)})
    print(f"Faces are found by {DETECTOR}.")
    found = extract_faces(user_path(folder), output, options, values["on_bad_video"])
    print("\n".join(summary_lines(found)))
    print(f"Written: --dataset folder:{output}")
