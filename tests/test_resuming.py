"""Which settings a resumed run may have other values of."""

from kerasft.recipe import fields, load
from kerasft.resuming import MAY_CHANGE, accepted, flat, refused, schedule_note, surroundings_note

RECIPE = load("sql")


def test_what_may_change_are_settings():
    assert {path for path, *_ in fields()} >= MAY_CHANGE
    assert set(flat(RECIPE)) == {path for path, *_ in fields()}


def test_every_other_setting_is_refused_by_name():
    new = load("sql", {"lora.rank": 3, "train.epochs": 7, "train.time_budget": "1h"})
    assert refused(flat(RECIPE), flat(new)) == [f"lora.rank was {RECIPE.lora.rank}, it is 3"]
    assert accepted(flat(RECIPE), flat(new)) == [
        f"train.epochs was {RECIPE.train.epochs}, it is 7",
        "train.time_budget was not set, it is '1h'",
    ]


def test_nothing_that_decides_on_rows_masks_or_rates_may_change():
    deciding = {
        f"train.{name}"
        for name in (
            "seed",
            "batch_size",
            "gradient_accumulation",
            "sequence_length",
            "packing",
            "learning_rate",
            "schedule",
            "warmup",
            "weight_decay",
            "clip_norm",
        )
    }
    sections = ("lora.", "prompt.", "task")
    deciding |= {path for path, *_ in fields() if path.startswith(sections)}
    assert not deciding & MAY_CHANGE


def test_a_setting_that_the_checkpoint_does_not_know_is_not_compared():
    old = flat(RECIPE)
    del old["lora.rank"]
    assert refused(old, flat(load("sql", {"lora.rank": 3}))) == []


def test_the_schedules_new_end_is_told():
    assert schedule_note("linear", 9, 9) is None
    note = schedule_note("linear", 1000, 1200)
    assert "ends with step 1,200, it was 1,000" in note and "linear" in note


def test_other_surroundings_are_told_and_what_they_mean():
    old = {"versions": {"keras": "3.1", "torch": "2"}, "backend": "torch", "dtype": "float32"}
    assert surroundings_note(old, old) is None
    new = {"versions": {"keras": "3.2", "jax": "1"}, "backend": "jax", "dtype": "float32"}
    note = surroundings_note(old, new)
    for part in ("jax none → 1", "keras 3.1 → 3.2", "torch 2 → none", "backend torch → jax"):
        assert part in note
    assert "dtype" not in note and "not bit for bit" in note
