"""Start of a worker: `python -I -S worker sqlite`, or `… worker duckdb FOLDER`.

FOLDER is where the duckdb package lies; it is on the module path only while it is imported.
"""

import sys

from protocol import serve

if sys.argv[1] == "sqlite":
    from sqlite_engine import Engine

    serve(Engine())
else:
    from duckdb_engine import Engine

    serve(Engine(sys.argv[2]))
