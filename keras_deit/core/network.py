"""Whether a host can be reached, found out within seconds.

Libraries that download try a host again and again, for minutes, before they say that there is no
network.
"""

import socket
import threading
import urllib.parse
import urllib.request

from keras_deit.core.errors import first_line

_SECONDS = 5.0
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
    address = parts.hostname, parts.port or _PORTS.get(parts.scheme, 80)
    reason = [f"no answer within {_SECONDS:g} s"]

    def connect():
        try:
            socket.create_connection(address, timeout=_SECONDS).close()
            reason[0] = ""
        except OSError as error:
            reason[0] = first_line(error)

    # In a thread, because looking up a name has no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return f"{address[0]}: {reason[0]}" if reason[0] else ""
