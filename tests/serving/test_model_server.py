"""A real TF Serving loads an export, warms it up and answers by REST."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from image_kinds import BROKEN, SAME

from keras_deit.serving import export_run
from keras_deit.serving.verification import SavedModel

SERVER = shutil.which("tensorflow_model_server")
SECONDS = 90


@pytest.mark.slow
@pytest.mark.skipif(SERVER is None, reason="tensorflow_model_server is not on the PATH")
def test_the_server_answers_as_the_saved_model(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    version = export_run(run.path, tmp_path / "served", name="tiny", print_fn=lambda line: None)
    files = [SAME["jpeg"], BROKEN["jpeg, cut"], SAME["png"]]
    expected = SavedModel(version).signatures["serve_bytes"](image_bytes=tf.constant(files))
    ports = free_ports(2)
    command = [SERVER, f"--port={ports[0]}", f"--rest_api_port={ports[1]}", "--model_name=tiny"]
    log = tmp_path / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, f"--model_base_path={version.parent}"], stdout=output, stderr=output
        )
        try:
            answers = ask(f"http://localhost:{ports[1]}/v1/models/tiny:predict", files, server)
        finally:
            server.terminate()
            server.wait()
    assert [answer["valid"] for answer in answers] == [True, False, True]
    logits = [answer["logits"] for answer in answers]
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)
    assert "warmup" in log.read_text().lower()


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ask(address, files, server):
    """Sends the files as soon as the server has loaded the model."""
    instances = [{"image_bytes": {"b64": base64.b64encode(file).decode()}} for file in files]
    body = json.dumps({"signature_name": "serve_bytes", "instances": instances}).encode()
    end = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, body, timeout=SECONDS) as answer:
                return json.load(answer)["predictions"]
        except (urllib.error.URLError, ConnectionError):
            assert server.poll() is None and time.monotonic() < end, "the server does not answer"
            time.sleep(0.5)
