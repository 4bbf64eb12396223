"""A training run: from settings to a policy, in intervals of which each begins anew.

An interval sets every seed from the run's seed and its own number and starts all episodes anew, so nothing
of the interval before lives on but what a checkpoint holds. A run that was killed and taken up again is
therefore bit by bit the run that was not.
"""

import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.utils import set_random_seed

from podgym import __version__
from podgym.agents.actor import Policy
from podgym.agents.policy_file import save_policy
from podgym.agents.torch_policies import PlanPolicyMixin, extract_policy
from podgym.errors import InputError
from podgym.train.algorithms import (
    BootstrapTimeLimits,
    PlannedTraining,
    forget_rollout,
    make_algorithm,
    unchecked_distributions,
)
from podgym.train.checkpoints import latest_checkpoint, save_checkpoint
from podgym.train.constraint import ViolationMultiplier
from podgym.train.dev import DevEpisodes
from podgym.train.folder import (
    BEST_POLICY_FILE,
    CHECKPOINTS_FOLDER,
    CONFIG_FILE,
    FINAL_POLICY_FILE,
    begin_run,
)
from podgym.train.problem import (
    Constants,
    describe,
    make_training_envs,
    measure_constants,
    training_problem,
)
from podgym.train.results import DevResult, Progress, TrainingResult
from podgym.train.settings import TrainingSettings
from podgym.train.settings_file import settings_for
from podgym.train.tensorboard import TrainingLog

OnProgress = Callable[[Progress], None]
OnEvaluation = Callable[[DevResult], None]
OnRemark = Callable[[str], None]

_MOST_MEASURED_STEPS = 512  # a whole episode, if it is not longer: what comes late in it differs
_FIRST_INTERVAL = 2  # seeds 0 and 1 of a run are those of measuring and cloning


def train(
    settings: TrainingSettings,
    folder: Path,
    *,
    environment: str,
    algorithm: str = "ppo",
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
    on_evaluation: OnEvaluation = lambda result: None,
    on_remark: OnRemark = lambda remark: None,
) -> TrainingResult:
    """Train a policy, evaluate it on dev every so often and keep the best.

    Args:
        settings: of the run.
        folder: where everything of the run goes.
        environment: id.
        algorithm: ``ppo``, ``maskable_ppo`` or ``recurrent_ppo``.
        resume: go on with the run in ``folder``, if there is one; the result is the same to the last bit.
        on_progress: called after every iteration.
        on_evaluation: called after every evaluation.
        on_remark: called with what whoever waits should know, one sentence each, before the training begins.

    Raises:
        InputError: settings that contradict each other or the environment, or a folder of another run.
        FloatingPointError: a reward, an observation or a weight is not finite.
    """
    begin_run(folder, settings, environment=environment, algorithm=algorithm, resume=resume)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in the same order, whatever the machine
    try:
        with unchecked_distributions():
            run = TrainingRun(settings, folder, environment, algorithm, on_progress, on_evaluation)
            for remark in run.remarks:
                on_remark(remark)
            return run.run()
    finally:
        torch.set_num_threads(threads)


class TrainingRun:
    """One run and what it has come to.

    Attributes:
        remarks: what whoever waits should know, one sentence each.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        environment: str,
        algorithm: str,
        on_progress: OnProgress,
        on_evaluation: OnEvaluation,
    ) -> None:
        """Make environments and networks, or take them up from the last checkpoint."""
        self.settings, self.folder, self.algorithm = settings, folder, algorithm
        self._on_progress, self._on_evaluation = on_progress, on_evaluation
        self._identity = {"environment": environment, "algorithm": algorithm, **settings.as_dict()}
        self._began_s = time.monotonic()
        self.problem = training_problem(environment, settings)
        self.envs = make_training_envs(self.problem)
        self.dev = DevEpisodes(self.problem)
        self.description = describe(self.problem, algorithm)
        self.interval = 0
        self.seconds = 0.0
        self.results: list[DevResult] = []
        checkpoint = latest_checkpoint(folder / CHECKPOINTS_FOLDER, self._identity)
        state = None if checkpoint is None else checkpoint.state
        self.remarks = (() if checkpoint is None else checkpoint.remarks) + self._unseen_steps()
        self.multiplier = ViolationMultiplier(settings.constraint, self.envs)  # rewards are measured with it
        constants = self._measured() if state is None else _constants(state["constants"])
        self.envs.reward_scale = constants.reward_scale
        self.constants = constants
        self.model = self._model(constants)
        if state is not None:
            self._restore(state)
        frames = self.model.num_timesteps
        self.log = TrainingLog(
            folder, frames=frames, evaluations=len(self.results), figure_every=settings.figure_every
        )
        self.model.set_logger(self.log.make_logger())

    def run(self) -> TrainingResult:
        """Train to the end."""
        try:
            if not self.results:
                self._clone()
                self._evaluate()
            while self.model.iterations < self.settings.iterations:
                self._train_interval()
                self._save()
            save_policy(self.policy(), self.folder / FINAL_POLICY_FILE)
        finally:
            self.log.close()
        best = min(self.results, key=self._rank)
        return TrainingResult(
            best=best,
            untrained=self.results[0],
            frames=self.model.num_timesteps,
            seconds=self._elapsed_s(),
            policy_file=self.folder / BEST_POLICY_FILE,
        )

    def policy(self) -> Policy:
        """Return the present policy, with where it comes from."""
        provenance = {
            "podgym": __version__,
            "command": training_command(self.problem.environment, self.algorithm, self.settings),
            "seed": self.settings.seed,
            "frames": self.model.num_timesteps,
            "settings": self.settings.as_dict(),
            "versions": _versions(),
            "dev": asdict(self.results[-1]) if self.results else {},
        }
        policy = self.model.policy
        if not isinstance(policy, PlanPolicyMixin):
            raise TypeError(f"{type(policy).__name__} cannot be extracted")
        return extract_policy(policy, replace(self.description, provenance=provenance))

    def _train_interval(self) -> None:
        """Train for one interval, of which nothing lives on but what is saved after it."""
        settings = self.settings
        number = _FIRST_INTERVAL + self.interval
        set_random_seed(int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0]))
        self.envs.seed_from([settings.seed, number])
        forget_rollout(self.model)
        left = settings.iterations - self.model.iterations
        for _ in range(min(settings.checkpoint_every, left)):
            self._iterate()
            if (
                self.model.iterations % settings.eval_every == 0
                or self.model.iterations == settings.iterations
            ):
                self._evaluate()
        self.interval += 1

    def _iterate(self) -> None:
        began_s, frames = time.perf_counter(), self.settings.frames_per_iteration
        callbacks = CallbackList([BootstrapTimeLimits(), *self.multiplier.callbacks, self.log])
        self.model.learn(
            frames,
            callback=callbacks,
            log_interval=None,  # type: ignore[arg-type]  # never: the log writes by itself
            reset_num_timesteps=False,
        )
        rate = frames / max(time.perf_counter() - began_s, 1e-9)
        total = self.settings.iterations * frames
        self._on_progress(Progress(self.model.num_timesteps, total, rate))

    def _evaluate(self) -> None:
        result, episode = self.dev.evaluate(self.policy(), self.model.num_timesteps)
        best = all(self._rank(result) < self._rank(before) for before in self.results)
        result = replace(result, best=best)
        self.results.append(result)
        self.log.log_evaluation(result, episode if self.log.figure_due else None)
        if result.best:
            save_policy(self.policy(), self.folder / BEST_POLICY_FILE)
        self._on_evaluation(result)

    def _rank(self, result: DevResult) -> tuple[float, float]:
        """Return what the best policy has least of: violations beyond the constraint, if any, then cost."""
        constraint = self.settings.constraint
        allowed = 1.0 if constraint is None else constraint.max_violation_ratio
        return max(result.slo_violation_ratio - allowed, 0.0), result.cost

    def _unseen_steps(self) -> tuple[str, ...]:
        """Say so if intervals are shorter than an episode: each begins with new episodes."""
        seen = self.settings.checkpoint_every * self.settings.n_steps
        whole = self.envs.env.episode_steps
        if seen >= whole:
            return ()
        return (
            f"steps {seen + 1} to {whole} of an episode are never trained on, as every interval of "
            f"checkpoint_every * n_steps = {seen} steps begins with new episodes; raise checkpoint_every to "
            f"{-(-whole // self.settings.n_steps)} or more.",
        )

    def _clone(self) -> None:
        if self.settings.clone is not None:
            from podgym.train.cloning import clone

            clone(self.model, self.problem, self.settings.clone, seed=self.settings.seed)

    def _measured(self) -> Constants:
        """Measure the constants under the untrained policy."""
        size = self.envs.observation_space.shape[0] if self.envs.observation_space.shape else 0
        blank = Constants(np.zeros(size, dtype=np.float32), np.ones(size, dtype=np.float32), 1.0)
        set_random_seed(self.settings.seed)
        policy = self._model(blank).policy
        generator = torch.Generator().manual_seed(self.settings.seed)

        def act(observations: NDArray[np.float32]) -> NDArray[np.int64]:
            return _sample(policy, torch.from_numpy(observations), generator)

        steps = min(self.envs.env.episode_steps, _MOST_MEASURED_STEPS)
        return measure_constants(self.envs, act, steps, self.settings.seed)

    def _model(self, constants: Constants) -> PlannedTraining:
        settings = self.settings
        set_random_seed(settings.seed)
        model = make_algorithm(
            self.algorithm,
            self.envs,
            {
                "description": self.description,
                "observation_mean": constants.mean,
                "observation_std": constants.std,
            },
            **algorithm_options(settings),
        )
        model.planned_timesteps = settings.iterations * settings.frames_per_iteration
        model.entropy_schedule = settings.ent_coef
        model.frozen_iterations = settings.actor_frozen_iterations
        return model

    def _elapsed_s(self) -> float:
        return self.seconds + time.monotonic() - self._began_s

    def _save(self) -> None:
        state = {
            "policy": self.model.policy.state_dict(),
            "optimizer": self.model.policy.optimizer.state_dict(),
            "constants": {
                "mean": torch.from_numpy(self.constants.mean),
                "std": torch.from_numpy(self.constants.std),
                "reward_scale": self.constants.reward_scale,
            },
            "num_timesteps": self.model.num_timesteps,
            "iterations": self.model.iterations,
            "n_updates": self.model._n_updates,
            "progress_remaining": self.model._current_progress_remaining,
            "interval": self.interval,
            "seconds": self._elapsed_s(),
            "multiplier": self.multiplier.value,
            "results": [asdict(result) for result in self.results],
        }
        save_checkpoint(self.folder / CHECKPOINTS_FOLDER, self.interval, state, self._identity)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.policy.load_state_dict(state["policy"])
        self.model.policy.optimizer.load_state_dict(state["optimizer"])
        self.model.num_timesteps = state["num_timesteps"]
        self.model.iterations = state["iterations"]
        self.model._n_updates = state["n_updates"]
        self.model._current_progress_remaining = state["progress_remaining"]
        self.interval = state["interval"]
        self.seconds = state["seconds"]
        self.multiplier.value = state["multiplier"]
        self.results = [DevResult(**result) for result in state["results"]]


def algorithm_options(settings: TrainingSettings) -> dict[str, Any]:
    """Return the options of stable-baselines3."""
    return {
        "learning_rate": settings.learning_rate,
        "n_steps": settings.n_steps,
        "batch_size": settings.batch_size,
        "n_epochs": settings.n_epochs,
        "gamma": settings.gamma,
        "gae_lambda": settings.gae_lambda,
        "clip_range": settings.clip_range,
        "vf_coef": settings.vf_coef,
        "max_grad_norm": settings.max_grad_norm,
        "normalize_advantage": settings.normalize_advantage,
        "target_kl": settings.target_kl,
        "seed": None,  # set at the beginning of every interval
    }


def _sample(
    policy: torch.nn.Module, observations: torch.Tensor, generator: torch.Generator
) -> NDArray[np.int64]:
    """Return actions drawn from the actor of a policy, (num_envs, numbers)."""
    if not isinstance(policy, PlanPolicyMixin):
        raise TypeError(f"{type(policy).__name__} has no logits to draw from")
    logits = policy.prior_logits(observations)
    parts = torch.split(logits, list(policy.description.action_nvec), dim=1)
    drawn = [torch.multinomial(part.softmax(dim=1), 1, generator=generator)[:, 0] for part in parts]
    return torch.stack(drawn, dim=1).numpy()


def _constants(saved: Mapping[str, Any]) -> Constants:
    return Constants(saved["mean"].numpy(), saved["std"].numpy(), float(saved["reward_scale"]))


def training_command(environment: str, algorithm: str, settings: TrainingSettings) -> str:
    """Return the command line that trains with these settings, by what differs from those that ship.

    What ``--set`` cannot say, such as a mapping without a key that the shipped one has, stands in the
    ``config.yml`` of the run, to which ``--config`` refers then.
    """
    words = ["podgym", "train", "--env", environment, "--algo", algorithm, "--seed", str(settings.seed)]
    shipped = settings_for(algorithm, environment, changes={"seed": settings.seed})
    changes = changed_settings(settings.as_dict(), shipped.as_dict())
    try:
        told = settings_for(algorithm, environment, changes={**changes, "seed": settings.seed}) == settings
    except InputError:
        told = False
    if not told:
        return shlex.join([*words, "--config", CONFIG_FILE])
    for name, value in changes.items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    return shlex.join(words)


def changed_settings(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of ours, by dotted name, that differ from theirs; both are plain data."""
    changes: dict[str, Any] = {}
    for name, value in ours.items():
        other = theirs.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            inner = changed_settings(value, other)
            changes |= {f"{name}.{key}": each for key, each in inner.items()}
        elif name not in theirs or value != other:
            changes[name] = value
    return changes


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {
        name: version(name) for name in ("numpy", "torch", "stable_baselines3", "sb3_contrib", "gymnasium")
    }
