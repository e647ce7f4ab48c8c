"""`kerasft.train` from rows to a run folder, and what stops it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import kerasft
from kerasft.data.prompts import template_for
from kerasft.errors import AdapterError, DataError, KerasftError, RecipeError, RunError
from kerasft.models import adapter as adapters
from kerasft.models import sources
from kerasft.recipe import override
from kerasft.runs import RunFolder
from tests.small import PROBE, say_rows, small_recipe, write_rows

pytestmark = pytest.mark.keras

METRICS = [
    "step",
    "loss",
    "accuracy",
    "learning_rate",
    "gradient_norm",
    "tokens",
    "supervised_tokens",
    "tokens_per_second",
    "peak_memory_bytes",
    "seconds",
    "input_wait_share",
]


@pytest.fixture
def no_weights(monkeypatch):
    """Loading weights is a failure."""

    def load_base(*args, **named):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(sources, "load_base", load_base)


# A run that ended


def test_the_run_folder_has_its_files(tiny_run):
    run = tiny_run.result.run
    found = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert found == {
        "recipe.toml",
        "run.json",
        "metrics.jsonl",
        "adapter/adapter.json",
        "adapter/adapter.safetensors",
        "checkpoints/step-000009/state.safetensors",
        "checkpoints/step-000009/state.json",
        "checkpoints/step-000009/manifest.json",
        "plots/loss.png",
    }
    assert run.recipe() == tiny_run.recipe
    assert (run.plots / "loss.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_record_says_how_the_steps_ran(tiny_run, backend):
    record, lines = tiny_run.result.record, tiny_run.result.run.metrics()
    compilations, first = record["compilations"], record["first_step_seconds"]
    assert compilations["count"] >= (backend == "jax")
    assert compilations["seconds"] >= 0 and first > 0
    assert 0 <= record["input_wait_share"] < 0.5
    waited = sum(line["input_wait_share"] * line["seconds"] for line in lines)
    assert record["input_wait_share"] == pytest.approx(waited / record["seconds"])
    assert 0 < record["padding_share"] < 1 and record["remat"] == "none"


def test_metrics_have_a_line_a_step_and_the_loss_falls(tiny_run):
    lines = tiny_run.result.run.metrics()
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert all(list(line) == METRICS for line in lines)
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert lines[-1]["accuracy"] > lines[0]["accuracy"]
    assert all(line["gradient_norm"] > 0 for line in lines)


def test_the_record_agrees_with_metrics_and_data(tiny_run, backend):
    run, record = tiny_run.result.run, tiny_run.result.record
    lines = run.metrics()
    assert (record["status"], record["why"], record["backend"]) == ("finished", "", backend)
    assert record["steps"] == record["planned_steps"] == 9
    assert record["first_loss"] == lines[0]["loss"]
    assert record["last_loss"] == lines[-1]["loss"]
    for name in ("tokens", "supervised_tokens"):
        assert record[name] == sum(line[name] for line in lines) == 3 * record["data"][name]
    assert (record["data"]["rows"], record["data"]["validation_rows"]) == (10, 3)
    tensors = adapters.read_tensors(run.adapter)
    assert record["parameters"]["trained"] == sum(array.size for array in tensors.values())
    assert record == json.loads(run.record_file.read_text("utf-8"))


def test_the_adapter_loads_to_the_live_logits(tiny_run):
    model = kerasft.load(tiny_run.result.run.path)
    tuned, base = model.logits(PROBE), model.base_logits(PROBE)
    assert np.abs(tuned - tiny_run.logits).max() < 1e-4
    assert np.abs(tuned - base).max() > 0.1
    assert model.adapter.step == 9


def test_samples_are_there_before_and_after(tiny_run):
    samples = tiny_run.result.record["samples"]
    assert len(samples) == 2
    for sample in samples:
        assert sample["prompt"].startswith("Say ")
        assert sample["expected"] == "the answer is 7"
        assert sample["before"] != sample["after"]


def test_validation_is_measured_before_and_after_each_epoch(tiny_run):
    validation = tiny_run.result.record["validation"]
    assert [entry["step"] for entry in validation["all"]] == [0, 3, 6, 9]
    assert validation["last"] < validation["before"]
    assert validation["best"] == min(entry["loss"] for entry in validation["all"])
    # 3 rows of one answer: as many supervised tokens as its tokens and the stop token.
    assert {entry["supervised_tokens"] % 3 for entry in validation["all"]} == {0}


def test_a_users_callback_is_called_as_by_one_fit(tiny_run):
    step = ["step ends"] * 3
    epoch = ["epoch begins", *step, "epoch ends"]
    names = [name for name, _ in tiny_run.events]
    assert names == ["train begins", *3 * epoch, "train ends"]
    assert [index for name, index in tiny_run.events if name == "epoch ends"] == [0, 1, 2]
    assert len(tiny_run.losses) == 9 and all(map(math.isfinite, tiny_run.losses))


def test_validation_and_training_loss_are_in_the_logs_of_an_epoch(tiny_run):
    results = tiny_run.result.record["validation"]["all"][1:]
    lines = tiny_run.result.run.metrics()
    assert [logs["val_loss"] for logs in tiny_run.epochs] == [each["loss"] for each in results]
    assert [logs["val_accuracy"] for logs in tiny_run.epochs] == [
        each["accuracy"] for each in results
    ]
    assert [logs["loss"] for logs in tiny_run.epochs] == [
        lines[index]["loss"] for index in (2, 5, 8)
    ]


# Ways to end


def test_max_steps_ends_inside_an_epoch_and_a_file_names_the_run(
    tmp_path, backend, monkeypatch, tiny_run
):
    monkeypatch.chdir(tmp_path)
    recipe = Path(tmp_path / "mine.toml")
    recipe.write_text((tiny_run.result.run.path / "recipe.toml").read_text("utf-8"), "utf-8")
    settings = {"train.max_steps": 4, "train.epochs": 5, "eval.samples": 0}
    result = kerasft.train(recipe, backend=backend, **settings)
    assert result.run.path.parent == Path("runs")
    assert result.run.path.name.startswith("mine-")
    assert (result.status, result.record["steps"]) == ("finished", 4)
    assert result.record["samples"] == []
    assert [each["step"] for each in result.record["validation"]["all"]] == [0, 3, 4]
    # The same windows from the same start: a prefix of the longer run.
    same = [line["loss"] for line in tiny_run.result.run.metrics()][:4]
    assert [line["loss"] for line in result.run.metrics()] == pytest.approx(same, rel=1e-5)


@pytest.mark.once
def test_patience_ends_the_run_and_keeps_the_best_adapter(tmp_path, backend):
    # Every question has an answer of its own: what is learned says nothing of the others.
    rows = [
        {"instruction": row["instruction"], "response": f"{n * 7919 % 1000} {n * 104729 % 997}"}
        for n, row in enumerate(say_rows(10))
    ]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    recipe = small_recipe(
        source,
        data__validation=4,
        train__epochs=40,
        train__validate_every=3,
        train__patience=2,
        train__learning_rate=0.05,
        train__schedule="constant",
        eval__samples=0,
    )
    result = kerasft.train(recipe, backend=backend, out=tmp_path / "run")
    record, validation = result.record, result.record["validation"]
    assert result.status == "finished"
    assert "no better validation loss in 2 validations" in result.why
    assert validation["best_step"] < record["steps"] < record["planned_steps"]
    assert validation["best"] < validation["last"]
    info = adapters.read_info(result.run.adapter)
    assert info.step == validation["best_step"]

    # Training from a run starts at the very adapter that it kept.
    settings = {"lora.init_from": str(result.run.path), "train.max_steps": 1}
    second = kerasft.train(recipe, backend=backend, out=tmp_path / "next", **settings)
    assert second.record["validation"]["before"] == pytest.approx(validation["best"], rel=1e-5)


@pytest.mark.once
def test_keras_callbacks_stop_on_val_loss_and_save_by_it(tmp_path, backend, tiny_run):
    kept = []

    def callbacks():
        import keras

        class Keep(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                kept.append((epoch, logs["val_loss"]))

        # No fall of the loss is large enough, so one epoch after the first ends it.
        stop = keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=100.0, patience=1)
        return [stop, Keep()]

    recipe = override(tiny_run.recipe, {"eval.samples": 0})
    result = kerasft.train(recipe, backend=backend, out=tmp_path / "run", callbacks=callbacks)
    assert (result.status, result.record["steps"]) == ("finished", 6)
    assert result.why == "a callback ended it after step 6"
    assert [epoch for epoch, _ in kept] == [0, 1]
    assert adapters.read_info(result.run.adapter).step == 6


# Starting from an adapter


@pytest.mark.once
def test_training_starts_from_an_adapter_folder(tmp_path, backend, tiny_run):
    source = tiny_run.result
    settings = {
        "lora.init_from": str(source.run.adapter),
        "train.max_steps": 1,
        "eval.samples": 0,
    }
    recipe = override(tiny_run.recipe, settings)
    result = kerasft.train(recipe, backend=backend, out=tmp_path / "run")
    last = source.record["validation"]["last"]
    assert result.record["validation"]["before"] == pytest.approx(last, rel=1e-5)
    assert result.record["first_loss"] < source.record["first_loss"]


@pytest.mark.once
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora.alpha": 8.0}, "has layout keras and scale 1, the recipe has keras and 2"),
        ({"lora.layout": "peft"}, "the recipe has peft"),
        ({"lora.rank": 8}, r"has shape .*, expected"),
        ({"lora.target_layers": ["query"]}, "belongs to no layer"),
    ],
)
def test_an_adapter_of_other_settings_is_refused(tmp_path, backend, tiny_run, settings, message):
    changed = {"lora.init_from": str(tiny_run.result.run.path), **settings}
    recipe = override(tiny_run.recipe, changed)
    with pytest.raises(AdapterError, match=message):
        kerasft.train(recipe, backend=backend, out=tmp_path / "run")
    assert RunFolder.open(tmp_path / "run").record()["status"] == "failed"


# Faults


@pytest.mark.once
@pytest.mark.usefixtures("no_weights")
def test_faults_are_told_before_weights_are_loaded(tmp_path, backend, tiny_run):
    recipe, out = tiny_run.recipe, tmp_path / "run"
    bad = write_rows(tmp_path / "bad.jsonl", [*say_rows(2), {"instruction": "a", "response": ""}])
    with pytest.raises(DataError, match=r"bad\.jsonl.*'response' is empty"):
        kerasft.train(recipe, backend=backend, out=out, **{"data.source": str(bad)})
    none = write_rows(tmp_path / "none.jsonl", [])
    with pytest.raises(DataError, match=r"none\.jsonl"):
        kerasft.train(recipe, backend=backend, out=out, **{"data.source": str(none)})
    with pytest.raises(RecipeError, match=r"train\.bach_size.*batch_size"):
        kerasft.train(recipe, backend=backend, out=out, **{"train.bach_size": 2})
    with pytest.raises(DataError, match="no row is left"):
        kerasft.train(recipe, backend=backend, out=out, **{"train.sequence_length": 8})
    assert not out.exists()
    with pytest.raises(RunError, match=r"is not empty.*--resume"):
        kerasft.train(recipe, backend=backend, out=tiny_run.result.run.path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        kerasft.train(recipe, backend=backend, out=tmp_path / "file" / "run")
    with pytest.raises(KerasftError, match="'tensorflow' is not known"):
        kerasft.train(recipe, backend="tensorflow", out=out)
    assert not out.exists()


def test_a_loss_that_is_not_finite_fails_and_leaves_the_older_checkpoint(
    tmp_path, backend, tiny_run
):
    from kerasft.engine import checkpoint

    settings = {
        "train.learning_rate": 1e30,
        "train.checkpoint_every": 1,
        "train.validate_every": 1,
        "eval.samples": 0,
    }
    recipe = override(tiny_run.recipe, settings)
    with pytest.raises(RunError, match=r"step \d: the loss is nan.*lower train.learning_rate"):
        kerasft.train(recipe, backend=backend, out=tmp_path / "run")
    run = RunFolder.open(tmp_path / "run")
    record = run.record()
    assert record["status"] == "failed" and "the loss is nan" in record["why"]
    assert run.metrics()[-1]["loss"] is None
    found, notes = checkpoint.latest(run.checkpoints)
    assert notes == [] and found.step == run.metrics()[-1]["step"] - 1
    assert all(np.isfinite(array).all() for array in found.tensors.values())


def test_an_update_that_is_not_finite_is_left_out_where_the_recipe_says_so(
    tmp_path, backend, tiny_run, monkeypatch
):
    """The weights of one window are not finite; what follows goes on from before it."""
    from dataclasses import replace

    from kerasft.data.batching import WindowSource

    window = WindowSource.window

    def poisoned(self, epoch, index):
        made = window(self, epoch, index)
        if self.rows > 3 and (epoch, index) == (0, 1):
            made = replace(made, weights=made.weights * np.nan)
        return made

    adapters_seen = []

    def callbacks():
        import keras

        class Keep(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                self.model.sync()
                adapters_seen.append({k: v.copy() for k, v in self.model.lora.tensors().items()})

        return [Keep()]

    monkeypatch.setattr(WindowSource, "window", poisoned)
    settings = {"train.on_bad_step": "skip", "train.max_steps": 3, "eval.samples": 0}
    recipe = override(tiny_run.recipe, settings)
    result = kerasft.train(recipe, backend=backend, out=tmp_path / "run", callbacks=callbacks)
    assert result.status == "finished"
    [skipped] = result.record["skipped"]
    assert (skipped["step"], skipped["loss"]) == (2, None) and len(skipped["rows"]) == 4
    first, second, third = adapters_seen
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
        assert np.isfinite(third[name]).all()
    assert any((second[name] != third[name]).any() for name in first)


# Conversations


@pytest.mark.once
def test_conversations_are_trained_sampled_asked_and_scored(tmp_path, backend):
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Say {n}"},
                {"role": "assistant", "content": "the answer is 7"},
            ]
        }
        for n in range(6)
    ]
    recipe = small_recipe(
        write_rows(tmp_path / "chat.jsonl", rows),
        prompt__template="chat",
        data__validation=2,
        train__max_steps=2,
    )
    result = kerasft.train(recipe, backend=backend, out=tmp_path / "run")
    assert {sample["expected"] for sample in result.record["samples"]} == {"the answer is 7"}
    assert all(sample["prompt"].startswith("Say ") for sample in result.record["samples"])

    model = kerasft.load(result.run.path)
    assert model.template == template_for(recipe.prompt, "instruct")
    sample = result.record["samples"][0]
    assert model.generate(sample["prompt"], max_new_tokens=8) == sample["after"]

    scores = kerasft.evaluate(result.run.path)
    assert scores["tuned"]["rows"] == 2
    assert [each["response"] for each in scores["predictions"]] == 2 * ["the answer is 7"]
