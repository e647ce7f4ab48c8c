"""Training rows for text-to-SQL from Spider's training questions and generated ones.

    python make_rows.py --spider SPIDER --synth synth.jsonl … --out train.jsonl

SPIDER holds `tables.json` and the questions (`train_spider.json` and `train_others.json`, or
other files given with --questions). The rows of --synth are `kerasft synth`'s.

Spider's queries were typed by many hands: with two spaces or one, names in any case, text
in single or double quotes. Here they are written in one way, so that a small model need not
learn how each hand typed. Every question comes as often as --copies says, the first
time with its schema as it is, then with tables and columns in another order and, half of the
time, without some of the tables that the query does not use.
"""

import argparse
import json
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp

from kerasft.data.schema import schema_only
from kerasft.data.spider import schema_of

UNSEEN = re.compile(r"\b(WITH|OVER|strftime|CASE|ROUND|OFFSET)\b", re.IGNORECASE)
"""What `kerasft synth` writes and Spider never asks for."""

LEFT_OUT = "geo"
"""564 questions over one small database; they would be a fifteenth of all rows."""


def one_spelling(query: str, entry: Mapping[str, Any]) -> str:
    """A query as sqlglot writes it, with names as the schema of `tables.json` has them."""
    try:
        tree = sqlglot.parse_one(query.rstrip("; "), read="sqlite")
    except sqlglot.errors.SqlglotError:
        return " ".join(query.split())
    names = {name.lower(): name for name in entry["table_names_original"]}
    for _, name in entry["column_names_original"]:
        names.setdefault(name.lower(), name)
    for column in list(tree.find_all(exp.Column)):
        name = column.this
        if isinstance(name, exp.Identifier) and name.quoted and name.this.lower() not in names:
            column.replace(exp.Literal.string(name.this))
    for name in tree.find_all(exp.Identifier):
        name.set("this", names.get(name.this.lower(), name.this))
    return tree.sql(dialect="sqlite")


def rearranged(
    entry: Mapping[str, Any], query: str, generator: random.Random
) -> dict[str, list[Any]]:
    """An entry of `tables.json` in another order, with all tables that the query names."""
    tables, columns = entry["table_names_original"], entry["column_names_original"]
    words = set(re.findall(r"\w+", query.lower()))
    left_out = generator.random() * 0.7 if generator.random() < 0.5 else 0.0
    kept = [
        index
        for index, name in enumerate(tables)
        if set(re.findall(r"\w+", name.lower())) <= words or generator.random() >= left_out
    ]
    generator.shuffle(kept)
    order = [0]  # `*`, of no table
    for table in kept:
        own = [index for index, (owner, _) in enumerate(columns) if owner == table]
        if generator.random() < 0.5:
            generator.shuffle(own)
        order += own
    place = {old: new for new, old in enumerate(order)}
    keys = [key if isinstance(key, list) else [key] for key in entry["primary_keys"]]
    table_place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    return {
        "table_names_original": [tables[index] for index in kept],
        "column_names_original": [
            [table_place[columns[index][0]], columns[index][1]] for index in order
        ],
        "column_types": [entry["column_types"][index] for index in order],
        "primary_keys": [[place[i] for i in key] for key in keys if all(i in place for i in key)],
        "foreign_keys": [
            [place[here], place[there]]
            for here, there in entry["foreign_keys"]
            if here in place and there in place
        ],
    }


def spider_rows(
    questions: Iterable[Mapping[str, Any]],
    entries: Mapping[str, Mapping[str, Any]],
    copies: int,
    generator: random.Random,
) -> list[dict[str, str]]:
    """`copies` rows of question, context and sql for each question."""
    rows = []
    for asked in questions:
        entry = entries[asked["db_id"]]
        sql = one_spelling(asked["query"], entry)
        for copy in range(copies):
            shown = rearranged(entry, sql, generator) if copy else entry
            rows.append({"question": asked["question"], "context": schema_of(shown), "sql": sql})
    return rows


def synth_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows of `kerasft synth` whose queries are of Spider's kind, with their schema alone."""
    return [
        {
            "question": row["sql_prompt"],
            "context": schema_only(row["sql_context"]),
            "sql": row["sql"].rstrip("; "),
        }
        for row in rows
        if not UNSEEN.search(row["sql"])
    ]


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON list or of JSON lines."""
    text = path.read_text("utf-8")
    if text.startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spider", type=Path, required=True, help="folder of tables.json")
    parser.add_argument(
        "--questions", nargs="+", default=["train_spider.json", "train_others.json"]
    )
    parser.add_argument("--synth", type=Path, nargs="*", default=[], help="kerasft synth's JSONL")
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    entries = {entry["db_id"]: entry for entry in read(arguments.spider / "tables.json")}
    questions = [row for name in arguments.questions for row in read(arguments.spider / name)]
    questions = [row for row in questions if row["db_id"] != LEFT_OUT]
    rows = spider_rows(questions, entries, arguments.copies, generator)
    for path in arguments.synth:
        rows += synth_rows(read(path))
    generator.shuffle(rows)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    arguments.out.write_text("".join(lines), "utf-8")
    print(f"{len(rows):,} rows of {len(questions):,} questions: {arguments.out}")


if __name__ == "__main__":
    main()
