"""Figures of whole videos: the answer for a video is the mean over its faces.

CViT (Wodajo and Atnafu, 2021) takes the mean over about 30 faces, and the class with the larger
one. Its authors put a sigmoid on each of the two logits first; here they are probabilities of a
softmax, with which the models are trained.
"""

import numpy as np

from keras_deit.core.errors import InputError
from keras_deit.data import Source
from keras_deit.data.face_record import video_of
from keras_deit.evaluation.figures import classification_figures, probabilities
from keras_deit.evaluation.measuring import Answers

GROUPS = ("video",)


def video_names(source: Source) -> np.ndarray:
    """Returns the video that each image of a split is of: strings (images,).

    Args:
        source: the images, files of `keras-deit faces`.

    Raises:
        InputError: they are no files, or one has a name that does not say its video.
    """
    paths = getattr(source, "paths", None)
    if paths is None:
        raise InputError(
            "Images are grouped by video in folders that keras-deit faces makes. "
            "Received: images that are no files of a split's own folder"
        )
    videos = [video_of(str(path)) for path in paths]
    if None in videos:
        raise InputError(
            "The names of images that are grouped by video should be VIDEO__frame_NUMBER.jpg, as "
            f"keras-deit faces makes them. Received: {paths[videos.index(None)]}"
        )
    return np.array(videos)


def figures_of_videos(answers: Answers, source: Source) -> dict:
    """Returns the figures of videos instead of images, as JSON values.

    The probabilities of a video are the means over the answers to its faces.

    Args:
        answers: to the images of a split.
        source: the images.

    Returns:
        The number of videos, `examples`, and by row the `figures`, see `classification_figures`.
        Rows whose logits are not finite have none.

    Raises:
        InputError: see `video_names`.
    """
    videos = video_names(source)[answers.indices]
    _, first, members = np.unique(videos, return_index=True, return_inverse=True)
    counts = np.bincount(members)
    labels = answers.labels[first]
    figures = {}
    for row, logits in answers.by_title.items():
        if np.isfinite(logits).all():
            chances = probabilities(logits)
            means = np.zeros((len(counts), chances.shape[1]))
            np.add.at(means, members, chances)
            figures[row] = classification_figures(labels, means / counts[:, None])
    return {"examples": len(counts), "figures": figures}
