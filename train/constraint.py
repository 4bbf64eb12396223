"""An SLO to keep instead of one to weigh: a Lagrange multiplier in place of the weight of violations.

Gradient ascent on the dual: after every rollout the multiplier grows while more requests than allowed miss
their SLO, and falls while fewer do.
"""

from stable_baselines3.common.callbacks import BaseCallback

from podgym.envs.config import REWARD_TERMS
from podgym.train.settings import ConstraintSettings
from podgym.train.vec_env import TrainingEnvs

_TERM = list(REWARD_TERMS).index("slo_violation")


class ViolationMultiplier:
    """The weight of SLO violations in the reward: constant, or what a constraint asks for.

    Attributes:
        value: the present multiplier, cores; what a second costs in which all requests miss their SLO.
        callbacks: to train with.
    """

    def __init__(self, settings: ConstraintSettings | None, envs: TrainingEnvs) -> None:
        """Begin with the initial multiplier, or leave the weights as they are."""
        self._settings = settings
        self._envs = envs
        self._value = -float(envs.weights[_TERM])
        self.callbacks: tuple[BaseCallback, ...] = ()
        if settings is not None:
            self.value = settings.initial_multiplier
            self.callbacks = (_Ascent(self),)

    @property
    def value(self) -> float:
        """The present multiplier."""
        return self._value

    @value.setter
    def value(self, value: float) -> None:
        self._value = value
        self._envs.weights[_TERM] = -value

    def ascend(self) -> None:
        """Move the multiplier by what has been violated since the statistics were last asked for."""
        settings, violation_ratio = self._settings, self._envs.violation_ratio
        if settings is None:
            return
        excess = violation_ratio / settings.max_violation_ratio - 1.0
        moved = self.value + settings.learning_rate * excess
        self.value = min(max(moved, 0.0), settings.max_multiplier)


class _Ascent(BaseCallback):
    """Moves the multiplier after each rollout."""

    def __init__(self, multiplier: ViolationMultiplier) -> None:
        super().__init__()
        self._multiplier = multiplier

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._multiplier.ascend()
        self.logger.record("constraint/multiplier", self._multiplier.value)
