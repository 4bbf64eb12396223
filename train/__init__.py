"""Training runs: from settings in a YAML file to a policy that beats what it started from.

Read ``settings`` and ``settings_file`` (what can be set), ``problem`` (what is trained on), ``vec_env`` and
``reference`` (experience, and what it is compared with), ``algorithms``, ``constraint`` and ``cloning`` (what
learns, and how), ``run`` (the run as a whole), ``dev`` (how it is judged meanwhile), ``checkpoints`` and
``folder`` (what is kept), ``tensorboard`` (what is shown) and ``throughput`` (how fast all that is).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podgym.train.results import TrainingResult
    from podgym.train.run import train
    from podgym.train.settings import TrainingSettings
    from podgym.train.settings_file import settings_for

_HOME = {
    "train": "run",
    "settings_for": "settings_file",
    "TrainingSettings": "settings",
    "TrainingResult": "results",
}

__all__ = ["TrainingResult", "TrainingSettings", "settings_for", "train"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'podgym.train' has no attribute {name!r}")
    return getattr(import_module(f"podgym.train.{_HOME[name]}"), name)
