"""The figure of an evaluated episode that TensorBoard shows: how the policy acts beside the plan."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from podgym.envs.render import PANELS, draw_panels, panel_figure
from podgym.train.results import DevEpisode

_SIZE_INCHES = (8.0, 7.0)
_DPI = 100
_PURPLE = "#CC79A7"


def episode_pixels(episode: DevEpisode) -> NDArray[np.uint8]:
    """Draw load, planned, wanted and ready replicas, response time with its SLO, and utilisation.

    Returns:
        (height, width, 3) pixels.
    """
    figure, axes = panel_figure(1, _SIZE_INCHES, _DPI)
    column = axes[:, 0]
    draw_panels(column, episode.series, episode.slo_response_time_s)
    times_s = episode.series["time_s"]
    if len(times_s):
        replicas = column[PANELS.index("replicas")]
        # The panels count time in minutes, hours or days and end with the episode.
        time = times_s * (replicas.get_xlim()[1] / times_s[-1])
        plan = episode.series["plan_replicas"]
        replicas.plot(time, plan, color=_PURPLE, label="plan", linewidth=1.2, drawstyle="steps-pre")
        replicas.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, handlelength=1.6
        )
    figure.align_ylabels(column)
    figure.suptitle(episode.title, fontsize=10, x=0.01, ha="left")
    raw = BytesIO()
    figure.savefig(raw, format="rgba", dpi=_DPI)
    width, height = (round(inches * _DPI) for inches in _SIZE_INCHES)
    pixels = np.frombuffer(raw.getbuffer(), dtype=np.uint8).reshape(height, width, 4)
    return pixels[:, :, :3].copy()
