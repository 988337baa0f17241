"""Top-1 over a folder through `serve_bytes`, `Predictor` and `evaluate_run`."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from jobs import train_without_page
from PIL import Image
from run_files import quiet

from keras_deit import Predictor, evaluate_run
from keras_deit.data.folder_files import image_files
from keras_deit.serving import export_run
from keras_deit.serving.verification import SavedModel

MODEL = {
    "model": "deit_tiny_patch16_224",
    "image_size": 16,
    "patch_size": 4,
    "embed_dim": 24,
    "depth": 1,
    "num_heads": 2,
}
CLASSES = {"a": 90, "b": 110, "c": 130}


def write_images(root):
    """Writes JPEG files, turned ones, PNG files and gray ones of classes that look alike."""
    rng = np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    for split, count in {"train": 8, "val": 4, "test": 24}.items():
        for name, level in CLASSES.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                size = tuple(rng.integers(17, 60, 2))
                pixels = np.clip(rng.normal(level, 60, (*size, 3)), 0, 255).astype("uint8")
                image = Image.fromarray(pixels).convert("L" if index % 3 == 2 else "RGB")
                if index % 2:
                    image.save(folder / f"{index}.png")
                else:
                    exif = {"exif": turned} if index % 4 else {}
                    image.save(folder / f"{index}.jpg", **exif)


@pytest.mark.slow
def test_top1_is_the_same_served_predicted_and_evaluated(tmp_path):
    write_images(tmp_path / "data")
    run = tmp_path / "run"
    data = f"folder:{tmp_path / 'data'}"
    arguments = {"steps": 8, "batch_size": 8, **MODEL}
    train_without_page(quiet, dataset=data, run_dir=run, **arguments)
    version = export_run(run, tmp_path / "served", name="m", print_fn=lambda line: None)
    files = [str(path) for path in image_files(tmp_path / "data" / "test")]
    truth = [pathlib.Path(path).parent.name for path in files]

    contents = [pathlib.Path(path).read_bytes() for path in files]
    answer = SavedModel(version).signatures["serve_bytes"](image_bytes=tf.constant(contents))
    served = [labels[0].decode() for labels in answer["top_labels"].numpy()]
    predicted = [prediction.label for prediction in Predictor(run).predict(files)]
    evaluated = evaluate_run(run, split="test", weights="final", print_fn=lambda line: None)

    assert answer["valid"].numpy().all()
    assert served == predicted
    top1 = np.mean([label == name for label, name in zip(served, truth, strict=True)])
    assert evaluated["scores"]["fused"]["top1"] == pytest.approx(top1, abs=1e-6)
    # Otherwise nothing would be compared.
    assert len(set(served)) > 1
