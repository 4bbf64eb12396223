"""The figure of a dev episode: what it draws, and that it leaves matplotlib's global state alone."""

import sys

import numpy as np
import pytest

from podgym.envs import render
from podgym.envs.totals import INFO_KEYS
from podgym.train import figures
from podgym.train.figures import episode_pixels
from podgym.train.results import DevEpisode


def episode(num_steps=40, plan=3.0, **changes):
    time_s = np.arange(1, num_steps + 1) * 15.0
    series = {name: np.linspace(1.0, 2.0, num_steps) for name in INFO_KEYS}
    series |= {"time_s": time_s, "plan_replicas": np.full(num_steps, plan), "users": np.zeros(num_steps)}
    return DevEpisode("a title", {**series, **changes}, 0.25)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are made."""
    made = []

    def panel_figure(*arguments):
        figure, axes = render.panel_figure(*arguments)
        made.append((figure, axes[:, 0]))
        return figure, axes

    monkeypatch.setattr(figures, "panel_figure", panel_figure)
    return made


@pytest.mark.parametrize("num_steps", [1, 40, 1000])
def test_the_plan_stands_beside_what_was_wanted_and_ready(drawn, num_steps):
    pixels = episode_pixels(episode(num_steps))
    assert pixels.shape == (700, 800, 3)
    assert pixels.dtype == np.uint8
    ((figure, axes),) = drawn
    replicas = axes[render.PANELS.index("replicas")]
    lines = {line.get_label(): line for line in replicas.get_lines()}
    assert set(lines) == {"ready", "wanted", "plan"}
    assert {text.get_text() for text in replicas.get_legend().get_texts()} == set(lines)
    assert lines["plan"].get_ydata().tolist() == [3.0] * num_steps
    assert lines["plan"].get_xdata()[-1] == pytest.approx(lines["ready"].get_xdata()[-1], rel=0.01)
    assert lines["plan"].get_xdata()[-1] == pytest.approx(replicas.get_xlim()[1])
    response = axes[render.PANELS.index("response time")]
    assert 250.0 in [line.get_ydata()[0] for line in response.get_lines() if line.get_label() == "SLO"]
    assert figure.get_suptitle() == "a title"


def test_the_plan_can_be_seen():
    assert (episode_pixels(episode(plan=3.0)) != episode_pixels(episode(plan=1.5))).any()


def test_an_episode_without_steps():
    assert episode_pixels(episode(0)).shape == (700, 800, 3)


def test_no_window_system_is_touched():
    before = "matplotlib.pyplot" in sys.modules
    episode_pixels(episode())
    assert before or "matplotlib.pyplot" not in sys.modules
