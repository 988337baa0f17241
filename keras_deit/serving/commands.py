"""How to serve a SavedModel and ask it, as lines for a shell."""

import pathlib
import shlex


def serving_commands(version: str | pathlib.Path) -> tuple[str, str]:
    """The command that serves a model, and one that asks it about `photo.jpg`.

    Args:
        version: path of a version, as `export_run` gives it.

    Returns:
        A `docker run` of TF Serving on port 8501, which serves the highest version and follows
        new ones, and a `curl` of its REST interface.
    """
    directory = pathlib.Path(version).resolve().parent
    name = directory.name
    mount = shlex.quote(f"{directory}:/models/{name}")
    serve = f"docker run --rm -p 8501:8501 -v {mount} -e MODEL_NAME={name} tensorflow/serving"
    # Through a pipe: a photograph is longer than an argument may be.
    body = '{"signature_name": "serve_bytes", "instances": [{"image_bytes": {"b64": "%s"}}]}'
    ask = (
        f"printf '{body}' \"$(base64 < photo.jpg | tr -d '\\n')\" | "
        f"curl -d @- http://localhost:8501/v1/models/{name}:predict"
    )
    return serve, ask
