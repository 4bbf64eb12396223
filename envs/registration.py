"""The ids of ``podgym`` and their registration with Gymnasium.

Importing this module costs nothing beyond Gymnasium: entry points are strings, resolved by ``gym.make``.
"""

import gymnasium as gym

ENVIRONMENT_IDS: dict[str, str] = {
    "podgym/HighLoad-v0": "high_load",
    "podgym/Burst-v0": "burst",
    "podgym/LowLoad-v0": "low_load",
    "podgym/Trace-v0": "trace",
    "podgym/FamilyConstant-v0": "family_constant",
    "podgym/FamilyDiurnal-v0": "family_diurnal",
    "podgym/FamilyVariable-v0": "family_variable",
    "podgym/FamilyBurst-v0": "family_burst",
    "podgym/FamilyFlash-v0": "family_flash",
    "podgym/Families-v0": "families",
    "podgym/Boutique-v0": "boutique",
}
"""Id and the function of ``podgym.envs.scenarios`` that makes its configuration."""


KUBERNETES_ID = "podgym/Kubernetes-v0"
"""Id of the environment on a real cluster; it takes ``settings``, see ``podgym.envs.kubernetes``."""


def register_environments() -> None:
    """Register every id; a second call changes nothing."""
    if KUBERNETES_ID not in gym.registry:
        gym.register(id=KUBERNETES_ID, entry_point="podgym.envs.kubernetes.env:KubernetesEnv")
    for identifier, scenario in ENVIRONMENT_IDS.items():
        if identifier not in gym.registry:
            gym.register(
                id=identifier,
                entry_point="podgym.envs.make:make_env",
                vector_entry_point="podgym.envs.make:make_vector_env",
                kwargs={"scenario": scenario},
            )
