"""Entry points of the registered ids: a scenario's configuration, laid over with keyword arguments."""

from typing import Any

from podgym.envs import scenarios
from podgym.envs.config import EnvConfig
from podgym.envs.env import AutoscaleEnv
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.vector_env import AutoscaleVectorEnv
from podgym.errors import unknown_name


def scenario_config(scenario: str) -> EnvConfig:
    """Return the configuration of a scenario by name, such as ``high_load``."""
    if scenario not in ENVIRONMENT_IDS.values():
        raise unknown_name("scenario", scenario, ENVIRONMENT_IDS.values())
    config: EnvConfig = getattr(scenarios, scenario)()
    return config


def make_env(scenario: str, **kwargs: Any) -> AutoscaleEnv:  # noqa: ANN401
    """Make the scalar environment of a scenario; further arguments as for ``AutoscaleEnv``."""
    kwargs.setdefault("config", scenario_config(scenario))
    return AutoscaleEnv(**kwargs)


def make_vector_env(num_envs: int, scenario: str, **kwargs: Any) -> AutoscaleVectorEnv:  # noqa: ANN401
    """Make the vector environment of a scenario; further arguments as for ``AutoscaleVectorEnv``."""
    kwargs.setdefault("config", scenario_config(scenario))
    return AutoscaleVectorEnv(num_envs, **kwargs)
