"""What an evaluation declares: environments, episodes, methods, and against whom they are judged."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.splits import DEV_SEEDS, TEST_SEEDS, TRAIN_SEEDS
from podgym.errors import InputError, require_whole, unknown_name

Part = Literal["train", "dev", "test"]
Bound = Literal["lower_bound", "clairvoyant"]

ALL = "all"
"""Word for every controller with tuned options on an environment."""
DEFAULT, TUNED = "default", "tuned"
"""Words for the options of a controller."""
SAME, EACH = "same", "each"
"""Words for what a policy was trained on: the environment that it is run on, or each of the protocol's."""
DEV = "dev"
"""Word for the rival with the best result on dev."""

SEEDS: Mapping[str, range] = {"train": TRAIN_SEEDS, "dev": DEV_SEEDS, "test": TEST_SEEDS}
"""Seeds of the episodes of each part."""
_MOST = 100_000
_NOT_FOR_ONE = ("reward", "workload", "workload_options", "episode_s", "randomisation")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """What can be said of every method."""

    label: str | None = None
    """What tables call it; None: its name and options, ``ppo`` for the shipped policy, the stem of a file, or
    the algorithm of runs."""
    episodes: int | None = None
    """Run the first so many episodes only; None: all."""
    optional: bool = False
    """Whether it is left out, with a remark, where it is not to be had."""
    ids: tuple[str, ...] | None = None
    """Environments that it takes part on, of those of the protocol; None: all."""

    def takes_part_on(self, environment: str) -> bool:
        """Return whether it is run on an environment of the protocol."""
        return self.ids is None or environment in self.ids


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contestant(_Entry):
    """What can be said of every method that decides by itself."""

    forecaster: str | None = None
    """``shipped``, ``naive``, ``oracle`` or a file; None: a policy's own, or the best there is, if a
    controller uses one."""
    variant_of: str | None = None
    """Label of the method whose front this is a further point of; None: a method of its own."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the environment for this method alone, such as pods of another size from the start on. It
    faces the same load and is charged alike; it needs a label of its own."""

    def __post_init__(self) -> None:
        if self.changes and self.label is None:
            raise InputError("a method with changes needs a label that says so.")
        charged = [name for name in self.changes if str(name).split(".")[0] in _NOT_FOR_ONE]
        if charged:
            raise InputError(
                f"changes of one method name {charged[0]}; what is paid, what comes and how long an episode "
                "is must be the same for all: put it into the changes of the protocol."
            )


@dataclass(frozen=True, slots=True)
class ControllerMethod(_Contestant):
    """A controller that is not learned."""

    controller: str
    """Its name, or ``all``: every controller with tuned options, each a method of its own."""
    options: str | Mapping[str, Any] = DEFAULT
    """``default``, ``tuned`` (those that come with the package for the environment), the ``result.json`` of
    ``podgym tune``, or options."""
    vary: Mapping[str, Any] = field(default_factory=dict)
    """One option with a list of values: as many variants, whose violations and costs make the front at which
    the method is compared at equal violation."""


@dataclass(frozen=True, slots=True)
class PolicyMethod(_Contestant):
    """A learned policy."""

    policy: str
    """File, or ``pretrained``: those that come with the package, one for each training seed."""
    trained_on: str = SAME
    """For ``pretrained``: the id whose policy it is, ``same`` or ``each`` (as many methods)."""


@dataclass(frozen=True, slots=True)
class RunsMethod(_Contestant):
    """A method that was trained several times, with a folder of ``podgym train`` per training seed."""

    runs: str
    """The ``--logdir`` of the runs, or the folder below it that holds those of one environment."""
    algorithm: str = "ppo"
    """Start of the names of their folders: ``ALGORITHM-seedS``."""
    trained_on: str = SAME
    """The id on which they were trained, ``same`` or ``each``."""


@dataclass(frozen=True, slots=True)
class BoundMethod(_Entry):
    """What the best possible controller pays, from below (``lower_bound``) or above (``clairvoyant``).

    Bounds take seconds per episode, and are of one service that does not differ between episodes.
    """

    bound: Bound
    """Which."""
    quotas: bool = False
    """Whether that controller may change quotas too; without them the bound holds for replicas alone."""

    def __post_init__(self) -> None:
        if self.bound not in get_args(Bound):
            raise unknown_name("bound", self.bound, get_args(Bound))


Method: TypeAlias = ControllerMethod | PolicyMethod | RunsMethod | BoundMethod


@dataclass(frozen=True, slots=True)
class Protocol:
    """A declared evaluation. Every method runs the same episodes."""

    name: str
    """Short name, for files and tables."""
    ids: tuple[str, ...]
    """Environments."""
    first_seed: int
    """Seed of the first episode; the others follow."""
    episodes: int
    """Episodes on each environment."""
    methods: tuple[Method, ...]
    """What takes part."""
    description: str = ""
    """What it is for."""
    part: Part = "test"
    """Part of every workload that has parts; the seeds must be those of it."""
    rival: str = DEV
    """Whom every method is compared with: a label, or ``dev``: on each environment the tuned controller with
    the best result on dev, where it was tuned."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Changes of every environment's configuration, such as ``episode_s``."""
    episodes_per_unit: int = 50
    """Episodes of a controller or bound between two writes: what a kill can lose. Policies run at once."""
    time_limit_s: float = 600.0
    """Longest time that an episode may take; beyond it the method has failed."""
    resamples: int = 20_000
    """Replicates of every bootstrap."""
    processes: int = 1
    """Processes, unless told otherwise; results do not depend on it."""

    def __post_init__(self) -> None:
        for environment in self.ids:
            if environment not in ENVIRONMENT_IDS:
                raise unknown_name("environment", environment, ENVIRONMENT_IDS)
        if not self.ids or len(set(self.ids)) < len(self.ids):
            raise InputError("ids must name one environment or more, each once.")
        if not self.methods:
            raise InputError("methods is empty; name what takes part.")
        self._check_numbers()
        for number, method in enumerate(self.methods):
            self._check_method(method, f"methods[{number}]")

    def _check_method(self, method: Method, path: str) -> None:
        if method.episodes is not None:
            require_whole("episodes of a method", method.episodes, 1, self.episodes)
        if method.ids is None:
            return
        for environment in method.ids:
            if environment not in self.ids:
                raise unknown_name(f"environment of {path} among the protocol's:", environment, self.ids)
        if not method.ids or len(set(method.ids)) < len(method.ids):
            raise InputError(f"{path}.ids must name one environment of the protocol or more, each once.")

    def _check_numbers(self) -> None:
        require_whole("episodes", self.episodes, 1, _MOST)
        require_whole("episodes_per_unit", self.episodes_per_unit, 1, _MOST)
        require_whole("resamples", self.resamples, 100, 10**7)
        require_whole("processes", self.processes, 1, 1024)
        require_whole("first_seed", self.first_seed, 0, 2**62)
        if not 0.0 < self.time_limit_s < math.inf:
            raise InputError(f"time_limit_s is {self.time_limit_s}; it must be a number of seconds above 0.")
        if self.part not in SEEDS:
            raise unknown_name("part", self.part, SEEDS)
        seeds = SEEDS[self.part]
        if self.seeds.start not in seeds or self.seeds[-1] not in seeds:
            raise InputError(
                f"seeds {self.first_seed} to {self.seeds[-1]} are not all of part {self.part!r}, which has "
                f"{seeds.start} to {seeds.stop - 1}; change first_seed or part."
            )

    @property
    def seeds(self) -> range:
        """Seeds of the episodes."""
        return range(self.first_seed, self.first_seed + self.episodes)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)
