"""Whether a host can be reached."""

import socket

import pytest

from keras_deit.core.network import why_unreachable


@pytest.fixture
def port():
    """A port that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"])
def test_a_host_is_asked_or_its_proxy(name, port, monkeypatch):
    for variable in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    assert why_unreachable(f"http://127.0.0.1:{port}/file") == ""
    scheme = name[:-6].lower()
    url = f"{scheme}://nowhere.invalid/file"
    assert why_unreachable(url).startswith("nowhere.invalid: ")
    monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    assert why_unreachable(url) == ""
    assert why_unreachable("s3://bucket/file") == ""
