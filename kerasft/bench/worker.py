"""The process of a contender: `python -m kerasft.bench.worker TASK FOLDER`.

Reads FOLDER/work.json and rows.npz (or prompts.npz), and writes FOLDER/TASK.json when all is
done.
"""

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasft.bench.contenders import CONTENDERS, DECODE, DECODERS, Contender
from kerasft.bench.work import Work, read_examples
from kerasft.records import plain

WEIGHTS = "weights"


def main(task: str, folder: Path) -> None:
    if task == "device":
        from kerasft.bench.device import measure

        result = measure(json.loads((folder / "device-request.json").read_text("utf-8"))["dtype"])
    elif task.startswith(DECODE):
        result = _decoding(task.removeprefix(DECODE), folder)
    else:
        result = _training(task, folder)
    aside = folder / f".{task}.json"
    aside.write_text(json.dumps(plain(result)), "utf-8")
    aside.replace(folder / f"{task}.json")


def _training(task: str, folder: Path) -> Mapping[str, Any]:
    work = Work.read(folder / "work.json")
    if task == WEIGHTS:
        from kerasft.bench.weights import write_folder

        return write_folder(work, folder / WEIGHTS)
    examples = read_examples(folder / "rows.npz", work.config["vocabulary_size"])
    return _run(CONTENDERS[task], work, examples)


def _decoding(task: str, folder: Path) -> Mapping[str, Any]:
    from kerasft.bench.decoding import DecodeWork, read_prompts

    work = DecodeWork.read(folder / "work.json")
    if task == WEIGHTS:
        from kerasft.bench.weights import write_decode_folder

        return write_decode_folder(work, folder / WEIGHTS)
    return _run(DECODERS[task], work, read_prompts(folder / "prompts.npz"))


def _run(contender: Contender, work: Any, rows: Any) -> Mapping[str, Any]:
    module = importlib.import_module(f"kerasft.bench.{contender.module}")
    return module.run(work, rows, contender.variant)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
