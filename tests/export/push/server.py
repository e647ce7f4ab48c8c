"""What the stand-ins for the Hub and for Kaggle share: a local server that logs requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest


class StandIn:
    """Requests that came, as (method, path), the logins that they showed, and the address.

    A subclass answers in `answer(method, path, body, login) -> (status, JSON or bytes)`.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.logins: set[str] = set()
        self.address = ""

    def answer(self, method: str, path: str, body: bytes, login: str) -> tuple[int, Any]:
        raise NotImplementedError

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had a part in their path."""
        return sum(each == method and part in path for each, path in self.requests)


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """Runs a stand-in in a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self._chunks() if "chunked" in self._encoding() else self.rfile.read(length)
            path = unquote(urlsplit(self.path).path)
            stand_in.requests.append((self.command, path))
            login = self.headers.get("Authorization", "")
            stand_in.logins.add(login)
            status, answer = stand_in.answer(self.command, path, body, login)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _handle

        def _encoding(self) -> str:
            return self.headers.get("Transfer-Encoding", "")

        def _chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def only_this_machine(patch: pytest.MonkeyPatch) -> None:
    """No connection leaves the machine: one that tries fails the test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] != "127.0.0.1":
            raise AssertionError(f"a connection to {address}")
        connect(self, address)

    patch.setattr(socket.socket, "connect", guarded)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        patch.delenv(name, raising=False)
        patch.delenv(name.lower(), raising=False)
