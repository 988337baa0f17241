"""The files that an export puts beside a model: card, warm-up requests, labels."""

import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from keras_deit.serving import export_run
from keras_deit.serving.model_card import card_page, escaped
from keras_deit.serving.verification import SavedModel

HOSTILE = "a|b <img src=x> [c](http://d) `e` *f*\n# g"


@pytest.fixture(scope="module")
def version(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    run = make_run(folder / "run")
    run.finish({"test": {"class": {"top1": 0.5}, "fused": {"top1": 0.75}}, "test_examples": 8})
    return export_run(run.path, folder / "served", name="tiny", print_fn=lambda line: None)


def test_the_card_says_what_the_model_is_and_what_it_reached(version):
    card = json.loads((version / "model_card.json").read_text("utf-8"))
    assert card["model"]["classes"] == ["ant", "bée", "cat"]
    assert card["data"]["dataset"] == "digits"
    assert card["preprocessing"]["interpolation"] == "bilinear"
    figure = {"split": "test", "images": 8, "row": "fused", "figure": "top1", "value": 0.75}
    assert figure in card["figures"]
    page = (version / "README.md").read_text("utf-8")
    assert "| fused, top1 | 0.7500 | test split, 8 images |" in page
    assert "bée" in page and "Apache-2.0" in page


def test_the_checksums_are_those_of_all_other_files(version):
    card = json.loads((version / "model_card.json").read_text("utf-8"))
    files = {path.relative_to(version).as_posix(): path for path in version.rglob("*")}
    files = {name: path for name, path in files.items() if path.is_file()}
    assert set(card["sha256"]) == set(files) - {"README.md", "model_card.json"}
    for name, digest in card["sha256"].items():
        assert digest == hashlib.sha256(files[name].read_bytes()).hexdigest()


def test_texts_of_users_are_no_markup(version):
    card = json.loads((version / "model_card.json").read_text("utf-8"))
    card["name"] = card["data"]["dataset"] = card["model"]["classes"][0] = HOSTILE
    card["figures"][0]["row"] = HOSTILE
    page = card_page(card)
    shown = r"a\|b \<img src=x\> \[c\](http://d) \`e\` \*f\* \# g"
    assert escaped(HOSTILE) == shown
    assert escaped("caf\udce9") == "café"
    assert page.startswith(f"# {shown}\n") and page.count(shown) == 4
    assert page.count("\n") == card_page({**card, "name": "plain"}).count("\n")


def test_the_labels_are_an_asset(version):
    assert (version / "assets" / "labels.txt").read_text("utf-8") == "ant\nbée\ncat\n"


def test_the_warm_up_requests_are_what_tf_serving_reads(version):
    """Messages of `tensorflow_serving.apis.prediction_log_pb2`, read without that package."""
    signatures = SavedModel(version).signatures
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    asked = []
    for record in tf.data.TFRecordDataset(str(path)):
        (request,) = fields(fields(record.numpy())[6][0])[1]
        (spec,), (entry,) = fields(request)[1], fields(request)[2]
        assert fields(spec)[1] == [b"tiny"]
        (name,), (key,), (value,) = fields(spec)[3], fields(entry)[1], fields(entry)[2]
        tensor = tf.constant(tf.make_ndarray(tensor_pb2.TensorProto.FromString(value)))
        answer = signatures[name.decode()](**{key.decode(): tensor})
        assert answer["logits"].shape == (1, 3)
        assert np.all(answer.get("valid", True))
        asked.append(name)
    assert asked == [b"serving_default", b"serve_bytes", b"serve_bytes"]


def fields(message):
    """Returns the fields of a message of the protocol buffers that have a length, by number."""
    found, at = {}, 0
    while at < len(message):
        key, length, at, shift = message[at], 0, at + 1, 0
        assert key & 7 == 2
        while True:
            length |= (message[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 0x80:
                break
        found.setdefault(key >> 3, []).append(message[at : at + length])
        at += length
    return found
