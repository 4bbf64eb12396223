"""Which episodes may be seen when: to search, to choose, and for the results that are published.

Two things keep the three apart. Every workload with parts (a trace, a generated family) is cut by them:
episodes of different parts share no sample and no random stream. And every part has seeds of its own, which
keep apart the episodes of workloads without parts, such as the paper's scenarios. Whatever tunes goes
through ``check_tuning_seed`` and ``tuning_config``, which know no way to the test part.
"""

import dataclasses
from typing import Literal, get_args

from podgym.envs.config import EnvConfig
from podgym.envs.core import open_workload
from podgym.errors import InputError, unknown_name

TuningPart = Literal["train", "dev"]
"""What a tuner may open: ``train`` to search, ``dev`` to choose among the best."""

TRAIN_SEEDS = range(0, 100_000)
"""Seeds of the episodes that are searched on."""
DEV_SEEDS = range(100_000, 200_000)
"""Seeds of the episodes by which the final choice is made."""
TEST_SEEDS = range(200_000, 300_000)
"""Seeds of the episodes that results are published of; no tuner runs them."""

_SEEDS = {"train": TRAIN_SEEDS, "dev": DEV_SEEDS}


def check_tuning_seed(seed: int, part: TuningPart) -> int:
    """Return the seed of an episode of a part, if a tuner may run it.

    Raises:
        InputError: another part than train or dev, or a seed of another part.
    """
    seeds = _seeds_of(part)
    if seed not in seeds:
        whose = " is for the final evaluation" if seed in TEST_SEEDS else " belongs to another part"
        raise InputError(
            f"seed {seed!r}{whose}; when tuning, part {part!r} has seeds {seeds.start} to {seeds.stop - 1}."
        )
    return seed


def tuning_seeds(part: TuningPart, first: int, count: int) -> tuple[int, ...]:
    """Return the seeds of episodes ``first``, ``first + 1``, ... of a part, the same for every controller.

    Raises:
        InputError: the part has not that many seeds, or is none that a tuner may open.
    """
    start = _seeds_of(part).start + first
    return tuple(check_tuning_seed(seed, part) for seed in range(start, start + count))


def tuning_config(config: EnvConfig, part: TuningPart) -> EnvConfig:
    """Return the configuration of an environment on the train or the dev part of its workload.

    Args:
        config: what is tuned on. Its workload must not name another part than train, its own default.
        part: the part to open.

    Raises:
        InputError: the configuration names a part, which is for the tuner to choose; or another part is
            wanted than train or dev.
    """
    _seeds_of(part)
    given = config.workload_options.get("part", "train")
    if given != "train":
        raise InputError(
            f"workload_options.part is {given!r}; tuning searches on part 'train' and chooses on part 'dev' "
            "by itself, and never opens 'test', nor 'all', which holds it. Leave part out."
        )
    if not hasattr(open_workload(config), "part"):
        return config
    return dataclasses.replace(config, workload_options={**config.workload_options, "part": part})


def require_part(config: EnvConfig, part: TuningPart) -> None:
    """Refuse a configuration whose workload opens another part than the one that is due.

    Raises:
        InputError: it does, or the part is none that a tuner may open.
    """
    _seeds_of(part)
    workload = open_workload(config)
    opened = getattr(workload, "part", part)
    if opened != part:
        raise InputError(
            f"workload {workload.name!r} opens part {opened!r}; only {part!r} may be opened now."
        )


def _seeds_of(part: str) -> range:
    if part not in _SEEDS:
        raise unknown_name("part for tuning", part, get_args(TuningPart))
    return _SEEDS[part]
