"""An OpenAI-compatible endpoint on this machine that answers as a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What the stub sends: a status, JSON or text, headers, after some seconds."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Stub:
    """Where the stub listens, and what came: headers by name in lower case, parsed body."""

    url: str
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)


def completion(content: str | None, **message: Any) -> dict[str, Any]:
    """A chat completion of 100 prompt and 10 completion tokens."""
    finish_reason = message.pop("finish_reason", "stop")
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def verdict(word: str, reason: str = "so it is") -> dict[str, Any]:
    return completion(json.dumps({"reason": reason, "verdict": word}))


@contextmanager
def serve(answer: Callable[[int, dict[str, Any]], Reply]) -> Iterator[Stub]:
    """A server; `answer` gets the number of the request (from 0) and its body."""
    lock = threading.Lock()
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            lowered = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                number = len(stub.requests)
                stub.requests.append(({**lowered, "path": self.path}, body))
            reply = answer(number, body)
            stopping.wait(reply.seconds)
            text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            data = text.encode()
            try:
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # the client stopped waiting

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
