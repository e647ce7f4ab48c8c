"""Our modes beside the official evaluators, on perturbed gold queries.

    kerasft synth --spider tables.json --data dev.json --out spider
    git clone https://github.com/taoyds/test-suite-sql-eval
    git clone https://github.com/bird-bench/mini_dev
    pip install sqlparse tqdm
    python -m tests.sql.official_agreement spider/rows.jsonl test-suite-sql-eval mini_dev

It prints how often the verdicts agree, mode by mode, and every kind of pair on which they do
not. The official evaluators run in this process, without a wall around them: give them nothing
but what `perturbations.py` writes.
"""

import argparse
import ast
import contextlib
import json
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kerasft.sql.modes import MODES, Gold
from kerasft.sql.sandbox import Outcome, Sandbox
from tests.sql.perturbations import Pair, pairs

Evaluator = Callable[[Path, Pair], bool]


def spider_evaluator(folder: Path) -> Evaluator:
    """`eval_exec_match` with the defaults of its command line."""
    sys.path.insert(0, str(folder))
    from exec_eval import eval_exec_match

    def evaluate(database: Path, pair: Pair) -> bool:
        # A gold query that fails is an assertion there, and stops the whole evaluation.
        with contextlib.suppress(AssertionError):
            return bool(
                eval_exec_match(str(database), pair.predicted, pair.gold, False, False, False)
            )
        return False

    return evaluate


def bird_evaluator(folder: Path) -> Evaluator:
    """`execute_sql`'s two queries on one connection, and its `calculate_ex`.

    Only that function is taken from the file: its imports want a MySQL and a Postgres client.
    """
    path = folder / "evaluation" / "evaluation_ex.py"
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", "") == "calculate_ex"]
    names: dict[str, Callable[[list, list], int]] = {}
    exec(compile(tree, str(path), "exec"), names)

    def evaluate(database: Path, pair: Pair) -> bool:
        connection = sqlite3.connect(database)
        try:
            results = [connection.execute(sql).fetchall() for sql in (pair.predicted, pair.gold)]
        except (sqlite3.Error, sqlite3.Warning):
            return False
        finally:
            connection.close()
        return bool(names["calculate_ex"](*results))

    return evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="rows.jsonl of `kerasft synth --spider`")
    parser.add_argument("spider", type=Path, help="a checkout of taoyds/test-suite-sql-eval")
    parser.add_argument("bird", type=Path, help="a checkout of bird-bench/mini_dev")
    options = parser.parse_args()
    evaluators = {
        "spider-1": spider_evaluator(options.spider.resolve()),
        "bird-1": bird_evaluator(options.bird.resolve()),
    }
    counts: dict[str, Counter[tuple[bool, bool]]] = {name: Counter() for name in evaluators}
    differing: Counter[tuple[str, str, bool, str]] = Counter()
    golds = {}
    for line in options.rows.read_text().splitlines():
        row = json.loads(line)
        golds[options.rows.parent / row["database"], row["sql"]] = None
    with Sandbox() as sandbox, tempfile.TemporaryDirectory() as folder:
        for database, gold in golds:
            # The evaluator takes all databases of a folder and opens them for writing.
            copy = Path(folder) / database.stem / database.name
            if not copy.exists():
                copy.parent.mkdir()
                shutil.copy(database, copy)
            for pair in pairs(gold, seed=gold):
                ran: dict[str, Outcome] = {}
                for name, evaluate in evaluators.items():
                    mode = MODES[name]
                    sides = [mode.prepare(sql) for sql in (pair.gold, pair.predicted)]
                    for sql in sides:
                        if sql not in ran:
                            ran[sql] = sandbox.run(sql, database=copy)
                    ours = mode.compare(*(ran[sql] for sql in sides), Gold(pair.gold))
                    official = evaluate(copy, pair)
                    counts[name][official, ours.equal] += 1
                    if official != ours.equal:
                        differing[name, pair.name, official, ours.reason] += 1
    for name, count in counts.items():
        agreeing = count[True, True] + count[False, False]
        equal = count[True, True] + count[True, False]
        print(
            f"{name}: {count.total():,} pairs of {len(golds):,} gold queries, "
            f"{agreeing:,} verdicts agree; officially equal: {equal:,}"
        )
    for (name, kind, official, reason), times in differing.most_common():
        print(
            f"  {name}, {kind}: officially {'equal' if official else 'not'}, ours {reason}: {times}"
        )


if __name__ == "__main__":
    main()
