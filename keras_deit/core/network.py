"""Whether a host can be reached, found out within seconds.

Libraries that download try a host again and again, for minutes, before they say that there is no
network.
"""

import contextlib
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator

from keras_deit.core.errors import first_line

_SECONDS = 5.0
# The name of the threads that look.
_CHECK = "keras_deit_connection_check"
_PORTS = {"https": 443, "http": 80, "ftp": 21}


def why_unreachable(url: str) -> str:
    """Returns why no connection to the host of a URL is possible; empty if one is.

    Args:
        url: an address of the schemes https, http or ftp; of others nothing is known. The proxy of
            the environment is asked for instead, if there is one.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        return ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    return _why_refused(parts.hostname, parts.port or _PORTS.get(parts.scheme, 80))


def _why_refused(host: str, port: int) -> str:
    reason = [f"no answer within {_SECONDS:g} s"]

    def connect():
        try:
            socket.create_connection((host, port), timeout=_SECONDS).close()
            reason[0] = ""
        except OSError as error:
            reason[0] = first_line(error)

    # In a thread, because looking up a name has no time limit.
    thread = threading.Thread(target=connect, daemon=True, name=_CHECK)
    thread.start()
    thread.join(_SECONDS)
    return f"{host}: {reason[0]}" if reason[0] else ""


class _QuickFailures:
    """Replaces the look-up of addresses while blocks of `failing_quickly` are active, in all
    threads: the first block replaces it, the last one puts it back."""

    def __init__(self):
        self._lock, self._active = threading.Lock(), 0
        self._checking, self._reasons = threading.Lock(), {}

    def begin(self) -> None:
        with self._lock:
            self._active += 1
            if self._active == 1:
                self._look_up, self._reasons = socket.getaddrinfo, {}
                socket.getaddrinfo = self._look_up_reachable

    def end(self) -> None:
        with self._lock:
            self._active -= 1
            if self._active == 0:
                socket.getaddrinfo = self._look_up

    def _look_up_reachable(self, host, port, *args, **kwargs):
        if port and isinstance(port, int) and threading.current_thread().name != _CHECK:
            with self._checking:
                if (host, port) not in self._reasons:
                    self._reasons[host, port] = _why_refused(host, port)
            if reason := self._reasons[host, port]:
                raise socket.gaierror(reason)
        return self._look_up(host, port, *args, **kwargs)


_quick_failures = _QuickFailures()


@contextlib.contextmanager
def failing_quickly() -> Iterator[None]:
    """Lets connections to hosts that cannot be reached fail within seconds, in the block.

    Each host is tried once, when a library first looks up its address: what it finds in its cache
    needs no network, and takes no time.
    """
    _quick_failures.begin()
    try:
        yield
    finally:
        _quick_failures.end()
