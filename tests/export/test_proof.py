"""The judgement of a comparison: each way to lose a training is a fault, rounding is none."""

import numpy as np
import pytest

from kerasft.export.proof import BOUNDS, Bound, bound_for, compare_all, judge

SHAPE = (40, 50)


@pytest.fixture
def logits() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    base = 3 * random.standard_normal(SHAPE).astype(np.float32)
    return base + random.standard_normal(SHAPE).astype(np.float32), base


def faults(live, base, exported, dtype="float32", trained=True) -> str:
    return "; ".join(judge(compare_all([(live, base, exported)]), BOUNDS[dtype], trained=trained))


def test_the_same_logits_are_no_fault(logits):
    live, base = logits
    comparison = compare_all([(live, base, live)])
    assert comparison.largest_difference == 0 and comparison.recovered == pytest.approx(1)
    assert comparison.top1_agreement == 1
    assert faults(live, base, live) == ""


def test_rows_add_up_to_the_whole(logits):
    live, base = logits
    exported = live + np.float32(1e-3)
    whole = compare_all([(live, base, exported)])
    parts = compare_all([(live[:7], base[:7], exported[:7]), (live[7:], base[7:], exported[7:])])
    assert whole.positions == parts.positions == len(live)
    for name in ("mean_difference", "largest_difference", "recovered", "logit_range"):
        assert getattr(whole, name) == pytest.approx(getattr(parts, name), rel=1e-6)


@pytest.mark.parametrize("dtype", list(BOUNDS))
def test_an_export_of_the_base_fails_for_every_dtype(logits, dtype):
    live, base = logits
    found = faults(live, base, base, dtype)
    assert "0.0% of what training changed" in found and "no nearer" in found


def test_half_of_the_training_is_a_fault_where_the_bound_alone_would_pass(logits):
    _, base = logits
    live = base + np.float32(0.01) * np.random.default_rng(1).standard_normal(SHAPE).astype("f4")
    found = faults(live, base, (live + base) / 2, "bfloat16")
    assert "50.0% of what training changed" in found and "a logit differs" not in found


def test_rounding_that_drowns_the_training_is_said(logits):
    _, base = logits
    random = np.random.default_rng(1)
    live = base + np.float32(0.001) * random.standard_normal(SHAPE).astype("f4")
    exported = live + np.float32(0.01) * random.standard_normal(SHAPE).astype("f4")
    assert "a finer --dtype" in faults(live, base, exported, "bfloat16") or "of what training" in (
        faults(live, base, exported, "bfloat16")
    )


def test_float32_is_held_to_a_thousandth(logits):
    live, base = logits
    off = live.copy()
    off[3, 4] += 2e-3
    assert "a logit differs by 0.002; at most 0.001" in faults(live, base, off)
    assert faults(live, base, off, "bfloat16") == ""


def test_other_tokens_and_numbers_that_are_none_are_faults(logits):
    live, base = logits
    assert "most likely token" in faults(live, base, -live, "bfloat16")
    broken = live.copy()
    broken[0, 0] = np.nan
    assert "not finite" in faults(live, base, broken)


def test_an_untrained_adapter_need_not_differ_but_a_dead_one_is_a_fault(logits):
    _, base = logits
    assert faults(base, base, base, trained=False) == ""
    assert "gives the base's logits" in faults(base, base, base, trained=True)


def test_the_coarser_dtype_sets_the_bound():
    assert bound_for("float32", "float32")[0] == "float32"
    assert bound_for("float16", "bfloat16")[0] == "bfloat16"
    assert bound_for("float16", "float32")[0] == "float16"


def test_what_gives_up_some_of_the_training_is_held_to_its_own_share_of_it(logits):
    live, base = logits
    bound = Bound(largest=1, absolute=np.inf, mean=1, top1=0, reason="a test", effect=0.3)

    def found(part):
        """Faults of an export that holds a part of what training changed."""
        exported = base + part * (live - base)
        return judge(compare_all([(live, base, exported)]), bound, trained=True)

    assert found(1) == found(0.8) == []
    (fault,) = found(0.6)
    assert "at most" in fault and "30.0% of what training changed" in fault
    assert "a higher --share-rank may hold the training" in found(0)[-1]
