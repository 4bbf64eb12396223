"""The first population, drawn from the forecast; and why there is none when a problem has no solution."""

import numpy as np
from numpy.typing import NDArray

from podgym.baselines.planner.performance import ARRIVALS
from podgym.baselines.planner.problem import PlanningProblem
from podgym.baselines.planner.repair import repaired
from podgym.envs.simulator.parameters import MIB
from podgym.errors import InputError

Ints = NDArray[np.int64]

LOWEST_UTILISATION, HIGHEST_UTILISATION = 0.4, 0.95
"""Between these a target is drawn for each service of each individual."""


def initial_population(problem: PlanningProblem, size: int, rng: np.random.Generator) -> Ints:
    """Return feasible plans that could serve the forecast, (size, S, 3).

    Each service of each plan draws a target utilisation and quotas at random, among the CPU levels of which
    its maximum of pods would do, and gets the pods that the highest rate of the forecast needs there. One
    plan keeps the pods that run now, if that is known. Then all are repaired. The smallest plan of all fills
    up where few are feasible.

    Raises:
        InputError: no plan is feasible; the message names the service and a remedy.
    """
    drawn = _drawn(problem, size, rng)
    low, high = problem.genes_of_choices
    if problem.present_replicas is not None:
        drawn[0, :, 0] = np.clip(problem.present_replicas, low[:, 0], high[:, 0])
    genes, _, feasible = repaired(problem, np.concatenate([drawn, low[None]]))
    found = genes[feasible]
    if len(found) == 0:
        raise _no_plan(problem)
    return np.asarray(found[np.arange(size) % len(found)])  # repeated where too few are feasible


def _drawn(problem: PlanningProblem, size: int, rng: np.random.Generator) -> Ints:
    model = problem.model
    low, high = problem.genes_of_choices
    services, levels = model.num_services, model.cpu_milli.shape[1]
    target = rng.uniform(LOWEST_UTILISATION, HIGHEST_UTILISATION, (size, services))
    needed_rps = (_highest_rates(problem) / target)[:, :, None]  # (size, S, 1) capacity
    pod_rps = _pod_capacity_rps(problem)
    enough = model.max_replicas[:, None] * pod_rps >= needed_rps  # (size, S, levels)
    first = np.where(enough.any(axis=2), enough.argmax(axis=2), levels)
    first = np.minimum(first, model.cpu_choices - 1)
    genes = np.empty((size, services, 3), dtype=np.int64)
    genes[:, :, 1] = rng.integers(first, model.cpu_choices)
    genes[:, :, 2] = rng.integers(np.zeros_like(first), model.memory_choices)
    chosen_rps = np.take_along_axis(np.broadcast_to(pod_rps, enough.shape), genes[:, :, 1:2], axis=2)
    pods = np.ceil(needed_rps / chosen_rps)[:, :, 0]
    genes[:, :, 0] = np.clip(pods, low[:, 0], high[:, 0]).astype(np.int64)
    return genes


def _pod_capacity_rps(problem: PlanningProblem) -> NDArray[np.float64]:
    """Requests/s that a pod of each CPU level completes, (S, most levels); 0 where there is no such level."""
    model = problem.model
    result = np.zeros(model.cpu_milli.shape)
    for s, (cell, choices) in enumerate(zip(model.first_cell, model.cpu_choices, strict=True)):
        cells = slice(cell, cell + choices)  # the fewest pods, every level
        result[s, :choices] = model.queues.rate_rps[cells] / model.queues.replicas[cells]
    return result


def _highest_rates(problem: PlanningProblem) -> NDArray[np.float64]:
    """Highest requests/s at each service, (S,); of closed users what they send if nothing makes them wait."""
    highest = float(problem.rates.max())
    if problem.kind == "closed":
        highest /= problem.model.think_s
    return np.asarray(problem.model.visits * highest)


def _no_plan(problem: PlanningProblem) -> InputError:
    model = problem.model
    names = [service.name for service in model.config.services]
    most = problem.genes_of_choices[1][None]
    performance = problem.performance(most)
    need = problem.memory_need_bytes(most, performance)[0]  # (S,) with all the capacity there is
    room = model.memory_room_bytes[np.arange(len(names)), model.memory_choices - 1]
    if (need > room).any():
        s = int((need - room).argmax())
        return InputError(
            f"service {names[s]!r}: a pod needs {need[s] / MIB:.0f} MiB at the forecast load "
            f"({performance[0, s, ARRIVALS].max():.4g} requests/s for at most {most[0, s, 0]} pods), but at "
            f"the largest memory level that fits a node its {model.memory_bound} is {room[s] / MIB:.0f} MiB; "
            "add larger memory_levels_bytes, or raise max_replicas."
        )
    return _no_room(problem, names)


def _no_room(problem: PlanningProblem, names: list[str]) -> InputError:
    model = problem.model
    cores = 0.001 * model.min_replicas * model.cpu_milli[:, 0]
    mib = model.min_replicas * model.memory_bytes[:, 0] / MIB
    share = np.maximum(1000.0 * cores / model.node_room[0], mib * MIB / model.node_room[1])
    s = int(share.argmax())
    return InputError(
        "no plan fits the nodes: the services at min_replicas and their smallest quotas ask for "
        f"{cores.sum():g} cores and {mib.sum():.0f} MiB at least; {model.num_nodes} nodes have "
        f"{model.node_room[0] / 1000:g} cores, {model.node_room[1] / MIB:.0f} MiB and {model.node_room[2]} "
        f"pods each. Service {names[s]!r} asks for most: lower its min_replicas, add smaller levels, or "
        "use more or larger nodes."
    )
