"""A client as thin as can be, so that what is timed is the server: one socket, kept alive, one request at a time."""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self


class Answer(NamedTuple):
    status: int
    body: bytes
    seconds: float


class KeptAlive:
    """Blocking, on purpose: an event loop on this side would be half of the round trip."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        lines = [f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self._headers = "\r\n".join(lines)
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the bytes of a request, made before the clock runs."""
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if method != "GET" else ""
        return f"{method} {path} HTTP/1.1\r\n{self._headers}\r\n{content}\r\n".encode() + body

    def ask(self, request: bytes) -> Answer:
        start = time.perf_counter()
        self._socket.sendall(request)
        received = self._socket.recv(65536)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        length = _content_length(received[:end])
        while len(received) < end + 4 + length:
            received += self._more()
        return Answer(int(received[9:12]), received[end + 4 :], time.perf_counter() - start)

    def _more(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ConnectionError("the answer does not say how long it is")


def answers(port: int, path: str, headers: Mapping[str, str] | None = None) -> bool:
    """Tell whether somebody listens there and answers 200, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        answer.read()
    except OSError:
        return False
    finally:
        connection.close()
    return answer.status == HTTPStatus.OK


def text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
