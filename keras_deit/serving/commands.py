"""Shell commands that serve a SavedModel and send a request to it."""

import pathlib
import shlex


def serving_commands(version: str | pathlib.Path) -> tuple[str, str]:
    """Returns a command that serves a model, and one that sends it the file `photo.jpg`.

    Args:
        version: the path of a version, as `export_run` returns it.

    Returns:
        A `docker run` of TF Serving on port 8501, which serves the highest version, also if it is
        added later; and a `curl` of its REST API.
    """
    directory = pathlib.Path(version).resolve().parent
    name = directory.name
    mount = shlex.quote(f"{directory}:/models/{name}")
    serve = f"docker run --rm -p 8501:8501 -v {mount} -e MODEL_NAME={name} tensorflow/serving"
    # Through a pipe, because a photograph can be longer than the longest argument of a command.
    body = '{"signature_name": "serve_bytes", "instances": [{"image_bytes": {"b64": "%s"}}]}'
    request = (
        f"printf '{body}' \"$(base64 < photo.jpg | tr -d '\\n')\" | "
        f"curl -d @- http://localhost:8501/v1/models/{name}:predict"
    )
    return serve, request
