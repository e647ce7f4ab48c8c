"""The process of a contender: `python -m kerasft.bench.worker TASK FOLDER`.

Reads FOLDER/work.json and rows.npz, and writes FOLDER/TASK.json when all is done.
"""

import importlib
import json
import sys
from pathlib import Path

from kerasft.bench.contenders import CONTENDERS
from kerasft.bench.work import Work, read_examples
from kerasft.records import plain


def main(task: str, folder: Path) -> None:
    if task == "device":
        from kerasft.bench.device import measure

        result = measure(json.loads((folder / "device-request.json").read_text("utf-8"))["dtype"])
    else:
        work = Work.read(folder / "work.json")
        if task == "weights":
            from kerasft.bench.weights import write_folder

            result = write_folder(work, folder / "weights")
        else:
            contender = CONTENDERS[task]
            examples = read_examples(folder / "rows.npz", work.config["vocabulary_size"])
            module = importlib.import_module(f"kerasft.bench.{contender.module}")
            result = module.run(work, examples, contender.variant)
    aside = folder / f".{task}.json"
    aside.write_text(json.dumps(plain(result)), "utf-8")
    aside.replace(folder / f"{task}.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
