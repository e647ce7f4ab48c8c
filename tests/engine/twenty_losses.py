"""Twenty training losses on the backend that Keras has, as a JSON list.

Run as a module: a process has one backend, so a comparison needs two processes.
"""

import json

from kerasft.recipe import TrainSettings
from tests.engine.tuning import fit, small_model, tuner_on, uneven_examples, windows_of


def losses() -> list[float]:
    tuner = tuner_on(small_model("gemma2"), "gemma2", moved=False)
    settings = TrainSettings(learning_rate=1e-2, schedule="cosine", warmup=3, weight_decay=0.01)
    tuner.prepare(settings, total_steps=20)
    windows = 5 * windows_of(uneven_examples(16), 2, 2)
    return [line["loss"] for line in fit(tuner, windows)]


if __name__ == "__main__":
    print(json.dumps(losses()))
