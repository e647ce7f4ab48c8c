"""Copies an SQLite database and applies the log that lies beside it: recover.py SOURCE TARGET.

Run as a process of its own under limits, so that neither a hostile log nor the closing of the
files (which drops locks) touches the parent. What is printed to stderr is the reason of a
failure; TARGET is whole when the exit code is 0.
"""

import contextlib
import os
import shutil
import sqlite3
import sys

try:
    import resource
except ImportError:  # Windows
    resource = None

LOGS = ("-wal", "-journal")
ADDRESS_BYTES = 1 << 30


def main(source, target):
    bytes_copied = 0
    for end in ("", *LOGS):
        if os.path.exists(source + end):
            shutil.copyfile(source + end, target + end)
            bytes_copied += os.path.getsize(target + end)
    if resource is not None:
        for name, value in [("RLIMIT_AS", ADDRESS_BYTES), ("RLIMIT_FSIZE", 2 * bytes_copied)]:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(getattr(resource, name), (value, value))
    connection = sqlite3.connect(target)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    connection.close()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, sqlite3.Error) as error:
        sys.exit(str(error))
