"""The plots of a run."""

import pytest

from kerasft.plots import loss_plot, running_mean


def test_the_running_mean_starts_at_the_first_value_and_follows():
    assert running_mean([3.0, 3.0, 3.0], 0.9) == pytest.approx([3.0, 3.0, 3.0])
    # By hand, decay ½: (½·2 + 1·4) / (½ + 1) and (¼·2 + ½·4 + 1·8) / 1¾.
    assert running_mean([2.0, 4.0, 8.0], 0.5) == pytest.approx([2, 5 / 1.5, 10.5 / 1.75])
    assert running_mean([], 0.9) == []


def test_the_plot_is_a_png_and_replaces_the_former(tmp_path):
    lines = [{"step": step, "loss": 8.0 / step} for step in range(1, 30)]
    path = tmp_path / "plots" / "loss.png"
    loss_plot(lines, [], path)
    without = path.read_bytes()
    loss_plot(lines, [{"step": 0, "loss": 8.0}, {"step": 29, "loss": 1.0}], path)
    assert path.read_bytes()[:8] == without[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.read_bytes() != without
    assert list(path.parent.iterdir()) == [path]


def test_one_step_is_enough(tmp_path):
    loss_plot([{"step": 1, "loss": 2.0}], [], tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 1000
