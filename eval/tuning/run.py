"""Tuning one controller on one environment: from a request to a ledger and a result."""

import hashlib
import inspect
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from podgym.baselines import CONTROLLERS
from podgym.envs.config import EnvConfig
from podgym.errors import InputError, require_whole
from podgym.eval.episode import library_versions
from podgym.eval.forecast_choice import ORACLE, forecaster_file
from podgym.eval.tuning.episodes import EpisodeRunner, Objective, objective_config
from podgym.eval.tuning.evaluators import evaluating
from podgym.eval.tuning.ledger import Ledger
from podgym.eval.tuning.proposers import method_of
from podgym.eval.tuning.schedule import affordable_episodes
from podgym.eval.tuning.search import Candidate, Found, Problem, Search
from podgym.eval.tuning.spaces import space_document
from podgym.files import to_json, usable_folder, write_json

FORMAT = "podgym.tuning/1"
LEDGER_FILE = "ledger.jsonl"
RESULT_FILE = "result.json"
BETTER: Mapping[Objective, str] = {"slo_cost": "lower", "reward": "higher"}
_MOST_BUDGET = 10**15


@dataclass(frozen=True, slots=True)
class Request:
    """What to tune, on what, and for how much."""

    controller: str
    """Name of the controller."""
    environment: str
    """Id of the environment."""
    config: EnvConfig
    """The environment, with the changes below made."""
    budget_steps: int
    """Environment steps (control intervals) of the search, the final choice included."""
    further_budget_steps: int
    """Environment steps of further searches, should a range prove too narrow."""
    seed: int = 0
    """Of the search; the episodes are the same for every seed."""
    objective: Objective = "slo_cost"
    """What is to be small or large."""
    forecaster: str | None = None
    """What forecasts for the observation and for planners: ``shipped``, ``oracle`` or a file; None: nothing
    but the observation's own forecast."""
    changes: tuple[str, ...] = ()
    """``key=value`` as given, beyond the forecast."""

    def __post_init__(self) -> None:
        require_whole("budget", self.budget_steps, 0, _MOST_BUDGET)
        require_whole("further budget", self.further_budget_steps, 0, _MOST_BUDGET)
        require_whole("seed", self.seed, 0, 2**63)

    @property
    def command(self) -> str:
        """The command that repeats it."""
        words = [
            "podgym", "tune", self.controller, "--env", self.environment,
            "--budget", self.budget_steps, "--further-budget", self.further_budget_steps,
            "--seed", self.seed, "--objective", self.objective,
        ]  # fmt: skip
        if self.forecaster is not None:
            words += ["--forecaster", self.forecaster]
        else:
            words += ["--forecast", self.config.observation.forecast]
        for change in self.changes:
            words += ["--set", change]
        return shlex.join(str(word) for word in words)


def tune(
    request: Request,
    folder: str | Path,
    *,
    processes: int = 1,
    resume: bool = False,
    on_spent: Callable[[int], None] = lambda steps: None,
) -> dict[str, Any]:
    """Tune a controller and write ``ledger.jsonl`` and ``result.json``.

    The result depends on the request alone: not on the number of processes, nor on how often the search was
    killed and resumed.

    Args:
        request: what to tune.
        folder: where to write.
        processes: episodes to run at a time.
        resume: continue the ledger in the folder, if there is one.
        on_spent: receives the environment steps spent so far.

    Returns:
        The content of ``result.json``.

    Raises:
        InputError: anything about the request, the folder or the ledger in it.
    """
    folder = usable_folder(folder)
    method_of(request.controller)  # refuses what cannot be tuned, before anything is opened
    config = objective_config(request.config, request.objective)
    runner = EpisodeRunner(request.controller, config, _forecaster_file(request))
    problem = _problem(request, runner)
    with (
        evaluating(runner, processes) as evaluate,
        Ledger(folder / LEDGER_FILE, _header(request, problem), resume=resume) as ledger,
    ):
        found = Search(problem, evaluate, ledger, on_spent).run()
    document: dict[str, Any] = json.loads(to_json(result_document(request, problem, found)))
    write_json(folder / RESULT_FILE, document)
    return document


def _problem(request: Request, runner: EpisodeRunner) -> Problem:
    """Return the problem, after opening both parts and checking the budget."""
    episode_steps = runner.episode_steps("train")
    episodes = affordable_episodes(request.budget_steps, episode_steps)
    if runner.episode_steps("dev") != episode_steps:
        raise InputError(
            "an episode of part dev is not as long as one of part train; set episode_s to what both allow."
        )
    method = method_of(request.controller, episodes)
    return Problem(
        method=method,
        objective=request.objective,
        episode_steps=episode_steps,
        budget_steps=request.budget_steps,
        further_budget_steps=request.further_budget_steps,
        seed=request.seed,
        default_options=_defaults(request.controller, [parameter.name for parameter in method.space]),
    )


def _forecaster_file(request: Request) -> str | None:
    """Return the forecaster in the form that ``podgym.eval.runner.Job`` takes."""
    chosen = request.forecaster
    return None if chosen is None else forecaster_file(chosen, request.config.workload)


def _forecaster_document(request: Request) -> dict[str, Any] | None:
    """Return which forecaster it was, to the last bit."""
    file = _forecaster_file(request)
    if file is None:
        return None
    sha256 = None if file == ORACLE else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return {"name": request.forecaster, "sha256": sha256}


def _defaults(controller: str, names: Sequence[str]) -> dict[str, Any]:
    parameters = inspect.signature(CONTROLLERS[controller]()).parameters
    return {name: parameters[name].default for name in names}


def _header(request: Request, problem: Problem) -> dict[str, Any]:
    """Return what makes one search differ from another."""
    return {
        "controller": request.controller,
        "environment": request.environment,
        "changes": list(request.changes),
        "forecast": "learned" if request.forecaster else request.config.observation.forecast,
        "forecaster": _forecaster_document(request),
        "configuration_sha256": configuration_sha256(request.config),
        "objective": {"name": request.objective, "better": BETTER[request.objective]},
        "method": problem.method.name,
        "search_space": problem.method.document,
        "default_options": dict(problem.default_options),
        "seed": request.seed,
        "budget_steps": request.budget_steps,
        "further_budget_steps": request.further_budget_steps,
        "episode_steps": problem.episode_steps,
        "versions": {**library_versions(), **problem.method.versions},
        "command": request.command,
    }


def configuration_sha256(config: EnvConfig) -> str:
    """Return a hash of everything that is configured."""
    content = asdict(config)
    if not config.randomisation.active:
        del content["randomisation"]  # so that a hash outlives options that change nothing
    return hashlib.sha256(to_json(content).encode()).hexdigest()


def result_document(request: Request, problem: Problem, found: Found) -> dict[str, Any]:
    """Return the result as plain data, with everything needed to judge and repeat it."""
    best = found.best
    return {
        "format": FORMAT,
        **_header(request, problem),
        "spent_steps": found.rounds[0].spent_steps,
        "further_spent_steps": sum(each.spent_steps for each in found.rounds[1:]),
        "candidates": len(found.candidates),
        "refused_candidates": sum(bool(candidate.refusal) for candidate in found.candidates),
        "train_seeds": list(found.train_seeds),
        "dev_seeds": list(found.dev_seeds),
        "searches": [
            {
                "schedule": asdict(each.schedule),
                "search_space": space_document(each.space) if each.space else problem.method.document,
                "spent_steps": each.spent_steps,
                "best_candidate": each.winner,
                "edges": [{**asdict(edge), "widens": edge.widens} for edge in each.edges],
            }
            for each in found.rounds
        ],
        "default": _scores(found.default, found, dict(problem.default_options)),
        "best": _scores(best, found, dict(problem.default_options) if best.number == 0 else best.options),
        "finalists": [
            _scores(candidate, found, candidate.options)
            for candidate in found.candidates
            if not candidate.refusal and all(seed in candidate.values for seed in found.dev_seeds)
        ],
    }


def _scores(candidate: Candidate, found: Found, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "candidate": candidate.number,
        "options": dict(options),
        "refusal": candidate.refusal,
        "train_mean": candidate.mean(found.promotion_seeds),
        "dev_mean": candidate.mean(found.dev_seeds),
        "dev_values": [candidate.values.get(seed) for seed in found.dev_seeds],
    }


def read_result(path: Path) -> dict[str, Any]:
    """Return a result from its file.

    Raises:
        InputError: there is no such file, or it is no result of tuning.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable JSON file: {error}.") from error
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise InputError(f"{path} is not a result of podgym tune (format {FORMAT}).")
    return dict(document)
