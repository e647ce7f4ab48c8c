"""What both engines' workers share: messages, limits of the process, cells, and the loop.

`sandbox.py` starts this folder as `python -I -S -u -X utf8 worker ENGINE` in an empty folder
with an empty environment and speaks to it over its stdin and stdout. Nothing here is imported
by the rest of the package, and nothing here imports it. Every message is four bytes of length
(big-endian) and that many bytes of JSON:

    worker  {"ready": the engine's version}                    once, at the start
    parent  {"do", "sql", "context" | null, "database" | null, "seconds", "max_rows"}
    worker  {"phase": "query"}                                 the database stands
    worker  {"status", "columns", "rows", "truncated", "message", …}

`do` is "query", "explain", "write" (the answer has "state" too) or "schema" (the answer has
"tables"). A database that cannot be had is answered at once with status `context_error`,
without the phase message, so that the parent can tell whose fault a kill was; with `recover`
set, a copy on which the log beside it was applied could be read. In `rows`, null, numbers (with
JSON's usual extension to NaN and Infinity) and text stand for themselves; `["b", x]` is a blob
and `["t", x]` is text that is not UTF-8, both in base64.
"""

import base64
import contextlib
import json
import os
import struct
import sys

try:
    import resource
except ImportError:  # Windows: the engine's own limits and the parent's kill must carry it
    resource = None

QUERY_CHARACTERS = 100_000
CONTEXT_CHARACTERS = 64_000_000
RESULT_BYTES = 32 << 20  # all cells of one result, or of one state
CELL_OVERHEAD = 32  # what a cell costs beside its text, for RESULT_BYTES
CPU_GRACE = 2  # seconds after the deadline until the kernel ends an orphaned worker


class BadText(bytes):
    """TEXT whose bytes are not UTF-8."""


class Failure(Exception):
    """A query or a context that ended in anything but rows."""

    def __init__(self, status, message, *, recover=False):
        super().__init__(message)
        self.status = status
        self.message = message
        self.recover = recover


def limit_process(address_bytes):
    """Take from this process what no query needs: files, children, memory, core dumps."""
    if resource is None:
        return
    os.umask(0o077)
    for name, value in [
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", 32),
        ("RLIMIT_AS", address_bytes),
    ]:
        # macOS does not have or enforce all of them.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (value, value))


def limit_cpu(seconds):
    """End this process by the kernel if it computes on after its parent is gone."""
    if resource is not None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        spent = usage.ru_utime + usage.ru_stime
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(spent + seconds) + 1 + CPU_GRACE
        if hard != resource.RLIM_INFINITY:
            soft = min(soft, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def header_of(path, size):
    """The first bytes of a database file.

    A database engine's own message for most of what can be wrong with a file is misleading or
    late, so it is looked at first. Here and not in the parent: closing a file drops all POSIX
    locks that the same process holds on it, and the parent may have the database open.

    Raises:
        Failure: missing, a folder, unreadable or empty.
    """
    if not os.path.isfile(path):
        kind = "is a folder, not a file" if os.path.isdir(path) else "does not exist"
        raise Failure("context_error", f"{path} {kind}; give the path of a database file")
    try:
        with open(path, "rb") as file:
            header = file.read(size)
    except OSError as error:
        raise Failure("context_error", f"{path} cannot be read: {error.strerror}") from None
    if not header:
        raise Failure("context_error", f"{path} is empty: no table was ever written to it")
    return header


def encode_cell(value):
    if isinstance(value, bytes):
        mark = "t" if isinstance(value, BadText) else "b"
        return [mark, base64.b64encode(value).decode("ascii")]
    return value


class Allowance:
    """How many rows and bytes one answer may still have."""

    def __init__(self, max_rows):
        self.max_rows = max_rows
        self.rows = 0
        self.bytes = 0

    def take(self, rows):
        """The rows for the answer, and why there are not more of them (or None)."""
        taken = []
        for row in rows:
            if self.rows == self.max_rows:
                return taken, f"more than {self.max_rows:,} rows"
            self.bytes += sum(map(_cell_bytes, row))
            if self.bytes > RESULT_BYTES:
                return taken, f"more than {RESULT_BYTES >> 20} MiB of result"
            self.rows += 1
            taken.append([encode_cell(value) for value in row])
        return taken, None


def _cell_bytes(value):
    return CELL_OVERHEAD + (len(value) if isinstance(value, (str, bytes)) else 0)


def answered(columns, rows, cut):
    """The message for rows; `cut` says why they are not all, or is None."""
    return {
        "status": "too_many_rows" if cut else "ok",
        "columns": columns,
        "rows": rows,
        "truncated": cut is not None,
        "message": cut or "",
    }


def failed(status, message, recover=False):
    answer = {"status": status, "columns": [], "rows": [], "truncated": False, "message": message}
    return answer | {"recover": True} if recover else answer


def _answer(request, engine, send):
    limit_cpu(2 * request["seconds"])
    connection = None
    try:
        connection = engine.open(request)
        send({"phase": "query"})
        send(getattr(engine, request["do"])(connection, request))
    except MemoryError:
        send(failed("memory", "the result needed more memory than it may have"))
    except Failure as failure:
        send(failed(failure.status, failure.message, failure.recover))
    finally:
        if connection is not None:
            connection.close()


def serve(engine):
    """Answer requests until the parent closes the pipe.

    Args:
        engine: has `version`, and `open(request)` to a connection on which `query`, `explain`,
            `write` and `schema(connection, request)` give the answer or raise Failure.
    """
    source, sink = sys.stdin.buffer, sys.stdout.buffer

    def send(message):
        body = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")
        sink.write(struct.pack(">I", len(body)) + body)
        sink.flush()

    send({"ready": engine.version})
    while len(head := source.read(4)) == 4:
        body = source.read(struct.unpack(">I", head)[0])
        _answer(json.loads(body), engine, send)
