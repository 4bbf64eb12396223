"""Noting, while a run goes on, what no interval report has: when pods became ready, when samples were taken.

Only the observation is looked at, so it works the same on a simulated and on a real cluster.
"""

from podgym.baselines import Controller
from podgym.envs.cluster import ClusterObservation, ServiceDecision
from podgym.envs.env import AutoscaleEnv
from podgym.eval.calibration.recording import PodStart, Recording, ScrapeSight
from podgym.eval.runner import run_episode


class RunLog:
    """Collects pod starts and sample times from observations."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._pods: dict[tuple[str, str], PodStart] = {}
        self._scrapes: list[ScrapeSight] = []

    def note(self, observation: ClusterObservation) -> None:
        """Take down what one observation shows; a pod counts with the readiness that was seen first."""
        for service in observation.services:
            if service.sample_time_s is not None:
                self._scrapes.append(ScrapeSight(service.name, observation.time_s, service.sample_time_s))
            for pod in service.pods:
                key = (service.name, pod.name)
                if pod.ready and pod.start_time_s is not None and key not in self._pods:
                    self._pods[key] = PodStart(*key, pod.start_time_s, pod.ready_transition_time_s)

    @property
    def pods(self) -> tuple[PodStart, ...]:
        """Pods in the order in which their readiness was seen."""
        return tuple(self._pods.values())

    @property
    def scrapes(self) -> tuple[ScrapeSight, ...]:
        """Sample times in the order of the observations."""
        return tuple(self._scrapes)


class LoggedController:
    """A controller that notes every observation before another one decides on it."""

    def __init__(self, inner: Controller) -> None:
        """Wrap ``inner``, whose name and decisions stay."""
        self.inner = inner
        self.name = inner.name
        self.log = RunLog()

    def reset(self) -> None:
        """Forget everything, as at the start of an episode."""
        self.inner.reset()
        self.log = RunLog()

    def decide(self, observation: ClusterObservation) -> tuple[ServiceDecision, ...]:
        """Return the decisions of the inner controller."""
        self.log.note(observation)
        return self.inner.decide(observation)


def record_simulated_run(
    env: AutoscaleEnv, controller: Controller, seed: int, *, environment: str = ""
) -> Recording:
    """Run one episode of the simulator and record what a live run would.

    Args:
        env: the environment.
        controller: what decides.
        seed: of the episode.
        environment: id for the record.
    """
    logged = LoggedController(controller)
    record = run_episode(env, logged, seed, environment=environment)
    logged.log.note(env.observe())
    return Recording(f"simulated run, seed {seed}", record, logged.log.pods, logged.log.scrapes)
