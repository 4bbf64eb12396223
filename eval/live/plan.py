"""What a live evaluation is to do, and what each contender needs of the environment."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from podgym.agents.description import ServiceSpec
from podgym.agents.running import load_actor, surroundings
from podgym.baselines import PlanningController, make_controller
from podgym.envs.config import EnvConfig, override
from podgym.envs.kubernetes.settings import KubernetesSettings
from podgym.envs.kubernetes.targets import bounds
from podgym.envs.make import scenario_config
from podgym.envs.protocols import Planner, RateForecaster
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.errors import InputError, require_whole, unknown_name
from podgym.eval.contenders import Contender
from podgym.eval.environment import Environment
from podgym.eval.episode import EpisodeRecord
from podgym.eval.forecast_choice import ORACLE, open_forecaster
from podgym.eval.live.load_command import LoadCommand
from podgym.eval.runner import OnFailure, policy_facts, run_episode, run_policy

ITSELF = "cluster"
"""The controller that leaves the decisions to the autoscaler in the cluster."""
RUN_FILE = "run.json"
_LONGEST_S = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class LivePlan:
    """A live evaluation."""

    environment: str
    """What tables call the cluster."""
    settings: KubernetesSettings
    """How it is reached and kept safe."""
    contenders: tuple[Contender, ...]
    """Who decides, one after another."""
    folder: Path
    """Where each episode gets a folder of its own."""
    episode_s: float
    """Length of an episode, seconds."""
    seed: int = 0
    """Of the first episode."""
    episodes: int = 1
    """Episodes of each contender, with seeds ``seed``, ``seed + 1``, ..."""
    load: LoadCommand | None = None
    """Sends the load of each episode; None: the cluster has its own."""
    pause_s: float = 60.0
    """Time to settle between two episodes, seconds."""
    tensorboard: bool = False
    """Whether the numbers are written as curves, too."""
    forecaster: str | None = None
    """File of the forecaster of controllers; None: there is none."""
    policy_forecaster: str | None = None
    """Forecaster of policies in place of their own; None: their own."""

    def __post_init__(self) -> None:
        require_whole("seed", self.seed, 0, 2**63 - 1)
        require_whole("episodes", self.episodes, 1, 10**6)
        interval_s = base_config(self.settings).cluster.control_interval_s
        if not interval_s <= self.episode_s <= _LONGEST_S:
            raise InputError(
                f"an episode of {self.episode_s:g} s is not possible; it must last one control interval "
                f"({interval_s:g} s) at least and {_LONGEST_S:g} s at most."
            )
        if not 0.0 <= self.pause_s <= _LONGEST_S:
            raise InputError(f"a pause of {self.pause_s:g} s is not possible; it must be 0 or more.")
        count = self.episodes * len(self.contenders)
        if self.settings.mode == "act" and not self.settings.restore and count > 1:
            raise InputError(
                f"restore: false goes with a single episode, and these are {count}: the note that the first "
                "leaves in the cluster keeps the second from beginning. Set restore: true, or run one method "
                "with --episodes 1 and podgym restore after it."
            )

    @property
    def episode_steps(self) -> int:
        """Control intervals of an episode."""
        return int(self.episode_s / base_config(self.settings).cluster.control_interval_s + 1e-9)

    @property
    def seeds(self) -> range:
        """Seeds of the episodes."""
        return range(self.seed, self.seed + self.episodes)

    def jobs(self) -> list[tuple[Contender, int]]:
        """Return who runs with which seed, in order; whoever began comes last with the next seed."""
        found = []
        for place, seed in enumerate(self.seeds):
            first = place % max(len(self.contenders), 1)
            found += [(each, seed) for each in (*self.contenders[first:], *self.contenders[:first])]
        return found

    def episode_folder(self, contender: Contender, seed: int) -> Path:
        """Return the folder of one episode."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", contender.label).strip("-.") or "episode"
        return self.folder / f"{name}-seed{seed}"

    def check_folders(self) -> None:
        """Refuse to write over a recording: a real run cannot be repeated.

        Raises:
            InputError: one of the folders holds a recording, or two contenders would share one.
        """
        folders = [self.episode_folder(each, seed) for each in self.contenders for seed in self.seeds]
        for folder in folders:
            if (folder / RUN_FILE).exists():
                raise InputError(f"{folder} holds a recording already; name another folder with --output.")
            if folders.count(folder) > 1:
                raise InputError(f"two contenders would write to {folder}; give them other names.")


def named_by_mode(contenders: Sequence[Contender], mode: str) -> tuple[Contender, ...]:
    """Return contenders whose labels say that what they decide has no effect: ``hpa (shadow)``.

    Args:
        contenders: who decides; the autoscaler in the cluster keeps its name, for it does act.
        mode: of the settings.
    """
    if mode == "act":
        return tuple(contenders)
    return tuple(
        each if each.controller == ITSELF else replace(each, label=f"{each.label}{mode_suffix(mode)}")
        for each in contenders
    )


def mode_suffix(mode: str) -> str:
    """Return the end of the label of whoever decides without an effect; empty for ``act``."""
    return "" if mode == "act" else f" ({mode.replace('_', ' ')})"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A contender that is ready to decide."""

    settings: KubernetesSettings
    """The cluster, as this contender may use it."""
    planner: Planner | None
    """Makes the plans; None: there are none."""
    forecaster: RateForecaster | None
    """Behind the forecasts; None: there is none."""
    changes: Mapping[str, Any]
    """Fields of ``EnvConfig`` that the contender brings along."""
    run: Callable[[Environment, int, OnFailure], EpisodeRecord]
    """Runs an episode of a seed; what was recorded until a failure is handed over before that is raised."""
    beside_forecaster: str | None
    """Forecaster of the same contender in the simulator, as in ``podgym.eval.runner.Job``."""


def base_config(settings: KubernetesSettings, changes: Mapping[str, Any] | None = None) -> EnvConfig:
    """Return the simulated environment of settings, before anything is read from the cluster.

    Args:
        settings: of the cluster.
        changes: laid over those of the settings, below the bounds of the services.

    Raises:
        InputError: an unknown environment or service, or a change that it refuses.
    """
    if settings.environment not in ENVIRONMENT_IDS:
        raise unknown_name("environment", settings.environment, ENVIRONMENT_IDS)
    config = scenario_config(ENVIRONMENT_IDS[settings.environment])
    config = override(override(config, settings.changes), changes or {})
    known = {service.name: service for service in config.cluster.services}
    bounded: dict[str, Any] = {}
    for name, target in settings.services.items():
        if name not in known:
            raise unknown_name(f"service of {settings.environment}", name, known)
        bounded[name] = bounds(known[name], target, known[name].initial_replicas)
    return override(config, {"cluster": {"services": bounded}})


def prepare(plan: LivePlan, contender: Contender) -> Prepared:
    """Make a contender ready, as far as that is possible without the cluster.

    Raises:
        InputError: an option, a policy or a forecaster that cannot be used.
    """
    changes = {"episode_s": plan.episode_s}
    if contender.policy is not None:
        return _prepared_policy(plan, contender, contender.policy, changes)
    if plan.forecaster == ORACLE:
        raise _no_oracle(contender.label)
    controller = make_controller(contender.controller, **contender.options)
    rates = None if plan.forecaster is None else open_forecaster(plan.forecaster)
    planner = controller.planner(rates) if isinstance(controller, PlanningController) else None

    def run(env: Environment, seed: int, on_failure: OnFailure) -> EpisodeRecord:
        return run_episode(
            env, controller, seed, environment=plan.environment, label=contender.label,
            controller_options=contender.options, on_failure=on_failure,
        )  # fmt: skip

    own = plan.settings
    if contender.controller == ITSELF:  # it decides nothing, so nothing need be written or taken over
        own = replace(own, mode="shadow", take_over=False)
    return Prepared(own, planner, rates, changes, run, plan.forecaster)


def _prepared_policy(plan: LivePlan, contender: Contender, file: str, changes: Mapping[str, Any]) -> Prepared:
    policy = load_actor(file)
    forecaster = plan.policy_forecaster
    if ORACLE in (forecaster, None if forecaster else policy.description.forecaster):
        raise _no_oracle(contender.label)
    scaled = _scaled(base_config(plan.settings), policy.description.services)
    around = surroundings(policy, config=base_config(plan.settings, scaled), forecaster=forecaster)
    own = {"action": around.config.action, "observation": around.config.observation, **scaled}
    facts = policy_facts(policy, file, forecaster)

    def run(env: Environment, seed: int, on_failure: OnFailure) -> EpisodeRecord:
        return run_policy(
            env, policy, seed, environment=plan.environment, label=contender.label,
            controller_options=facts, on_failure=on_failure,
        )  # fmt: skip

    return Prepared(plan.settings, around.planner, around.forecaster, {**changes, **own}, run, forecaster)


def _scaled(config: EnvConfig, services: Sequence[ServiceSpec]) -> dict[str, Any]:
    """Return the changes with which observations count replicas as a policy knows them."""
    known = {service.name: service for service in config.cluster.services}
    changes: dict[str, Any] = {}
    for each in services:
        if each.name in known:
            service, most = known[each.name], each.max_replicas
            changes[each.name] = {
                "min_replicas": min(service.min_replicas, most),
                "max_replicas": most,
                "scale_replicas": most,
                "initial_replicas": min(service.initial_replicas, most),
            }
    return {"cluster": {"services": changes}}


def _no_oracle(label: str) -> InputError:
    return InputError(
        f"{label} would need the forecaster 'oracle', but nobody knows the future of a real cluster; take "
        "another with --forecaster, such as shipped or naive."
    )
