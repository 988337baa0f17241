"""Whether a host can be reached."""

import socket
import time
import urllib.request

import pytest

from keras_deit.core.network import failing_quickly, why_unreachable


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


def test_blocks_of_several_threads_leave_the_look_up_as_it_was():
    look_up = socket.getaddrinfo
    first, second = failing_quickly(), failing_quickly()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert socket.getaddrinfo != look_up
    second.__exit__(None, None, None)
    assert socket.getaddrinfo is look_up


def test_a_host_that_does_not_answer_fails_within_seconds(port, monkeypatch):
    asked = []
    look_up = socket.getaddrinfo

    def hang(host, *arguments, **options):
        asked.append(host)
        if host == "silent.invalid":
            time.sleep(20)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr("keras_deit.core.network._SECONDS", 0.2)
    start = time.monotonic()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with failing_quickly():
        for _ in range(3):
            with pytest.raises(OSError, match=r"silent\.invalid: no answer within 0\.2 s"):
                opener.open("http://silent.invalid/file")
        socket.create_connection(("127.0.0.1", port)).close()
    assert time.monotonic() - start < 10
    # Each host is looked for once, and one that answers is then opened.
    assert asked == ["silent.invalid", "127.0.0.1", "127.0.0.1"]
    assert socket.getaddrinfo is hang
