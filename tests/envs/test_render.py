"""Render modes: a text of the step and a figure of the episode, without a display and without pyplot."""

import subprocess
import sys

import numpy as np
import pytest

from podgym.envs.render import draw_text, figure_pixels
from podgym.envs.totals import INFO_KEYS

INFO = {
    **dict.fromkeys(INFO_KEYS, 0.0),
    "time_s": 3725.0,
    "users": 590.4,
    "offered_rps": 338.5,
    "completed_rps": 338.4,
    "response_time_mean_s": 0.107,
    "response_time_p95_s": 0.141,
    "slo_violation_ratio": 0.125,
    "cpu_utilisation": 0.45,
    "memory_utilisation": 0.48,
    "replicas_wanted": 13.0,
    "replicas_ready": 12.0,
    "replicas_pending": 1.0,
    "reward": -110.2,
}


def test_text_says_what_matters():
    text = draw_text(INFO)
    for part in ("01:02:05", "338 req/s", "590 users", "12 ready of 13 wanted", "1 pending", "107 ms",
                 "p95 141 ms", "12.5%", "45%", "48%", "-110.2"):  # fmt: skip
        assert part in text, part
    assert max(len(line) for line in text.splitlines()) <= 100


def test_text_before_the_first_step():
    text = draw_text(dict.fromkeys(INFO_KEYS, 0.0))
    assert "none completed" in text
    assert "users" not in text


def test_pixels_of_an_empty_episode():
    pixels = figure_pixels([], 0.25)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.min() < 255  # the axes are drawn


def rows(count=20, **changes):
    return [{**INFO, "time_s": 15.0 * (i + 1), **changes} for i in range(count)]


@pytest.mark.parametrize(
    "changes",
    [{"offered_rps": 900.0}, {"replicas_wanted": 20.0}, {"replicas_ready": 3.0}, {"response_time_p95_s": 0.3},
     {"cpu_utilisation": 0.9}, {"memory_utilisation": 0.9}, {"users": 0.0}],
)  # fmt: skip
def test_everything_promised_is_drawn(changes):
    plain = figure_pixels(rows(), 0.25)
    changed = figure_pixels(rows(**changes), 0.25)
    assert plain.shape == changed.shape == figure_pixels([], 0.25).shape
    assert not np.array_equal(plain, changed)


def test_slo_is_drawn():
    assert not np.array_equal(figure_pixels(rows(), 0.25), figure_pixels(rows(), 0.35))


def test_single_step_and_no_completed_request():
    assert figure_pixels(rows(1, response_time_mean_s=0.0, response_time_p95_s=0.0), 0.25).any()


def test_pyplot_is_left_alone(tmp_path):
    code = (
        "import sys; from podgym.envs.render import figure_pixels; figure_pixels([], 0.25); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=99, check=False).returncode == 0
