"""podgym: Gymnasium environments in which Kubernetes autoscaling is learned, compared and deployed.

Importing the package registers its environments and costs little more than importing Gymnasium; all else
loads when it is used::

    import gymnasium as gym
    import podgym

    env = gym.make("podgym/Burst-v0")

or, without the import, ``gym.make("podgym:podgym/Burst-v0")``.
"""

from podgym.envs.registration import ENVIRONMENT_IDS, register_environments
from podgym.errors import InputError

__version__ = "0.1.0"

__all__ = ["ENVIRONMENT_IDS", "InputError", "__version__", "register_environments"]

register_environments()
