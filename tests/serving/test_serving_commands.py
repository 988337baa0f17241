"""The commands that are printed for the user, run by a shell."""

import base64
import json
import os
import shlex
import subprocess

from keras_deit.serving import serving_commands


def test_the_model_is_mounted_in_the_directory_of_the_server(tmp_path):
    serve, _ = serving_commands(tmp_path / "my models" / "deit-tiny" / "3")
    words = shlex.split(serve)
    mounted = words[words.index("-v") + 1]
    assert mounted == f"{tmp_path.resolve()}/my models/deit-tiny:/models/deit-tiny"
    assert words[:2] == ["docker", "run"] and "MODEL_NAME=deit-tiny" in words
    assert words[-1] == "tensorflow/serving"


def test_the_photograph_is_sent_as_the_rest_api_needs_it(tmp_path):
    """The file is longer than the longest argument of a command, 128 KiB on Linux."""
    photo = os.urandom(300_000)
    (tmp_path / "photo.jpg").write_bytes(photo)
    curl = tmp_path / "curl"
    curl.write_text('#!/bin/sh\ncat > body\necho "$@" > arguments\n')
    curl.chmod(0o755)
    _, request = serving_commands("savedmodels/deit-tiny/3")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", request], cwd=tmp_path, env=environment, check=True)
    body = json.loads((tmp_path / "body").read_text())
    assert body["signature_name"] == "serve_bytes"
    assert base64.b64decode(body["instances"][0]["image_bytes"]["b64"]) == photo
    address = "http://localhost:8501/v1/models/deit-tiny:predict"
    assert (tmp_path / "arguments").read_text().split() == ["-d", "@-", address]
