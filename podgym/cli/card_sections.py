"""What all environments share, section by section: episode, observation, action, reward, load, cluster."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from podgym.cli.card_text import described_settings, join_names, markdown_table

if TYPE_CHECKING:
    from podgym.envs.env import AutoscaleEnv

_SETTINGS = ("setting", "default", "meaning")
_MODES = {
    "delta": "a choice is a step from what is wanted now, which stays wanted until it is changed",
    "absolute": "a choice is the number of replicas, counted from min_replicas, or the level itself",
    "residual": "a choice is a step from the plan",
    "continuous": "-1 is the least, 1 the most; quotas lie between by their ratio",
}


def episode_section(env: "AutoscaleEnv") -> str:
    """Return what a step and an episode are."""
    from gymnasium.vector import AutoresetMode

    from podgym.envs.core import DEFAULT_EPISODE_S
    from podgym.envs.env import RENDER_MODES
    from podgym.envs.vector_env import AutoscaleVectorEnv

    mode = inspect.signature(AutoscaleVectorEnv).parameters["autoreset_mode"].default
    modes = join_names([each.value for each in AutoresetMode], "or")
    cluster = env.config.cluster
    return f"""\
- **A step** is one control interval of {cluster.control_interval_s:g} s: the action is applied, then the
  cluster is simulated in ticks of {cluster.tick_s:g} s.
- **An episode** lasts as long as its scenario, else {DEFAULT_EPISODE_S / 60.0:g} minutes; `episode_s` sets
  another length. It is never *terminated*, only *truncated* at this time limit: the service goes on, so the
  value of the last observation has to be bootstrapped.
- **Seeds.** `reset(seed=n)` gives bitwise the same episode each time. After `reset(seed=n)`, environment i of
  `gym.make_vec(id, num_envs)` is the scalar one with seed n + i, bit by bit.
- **Autoreset** of the vector environment: `{mode.value}` by default (an ended episode restarts on the next
  step, whose action is ignored); `autoreset_mode` may be {modes}, and its `metadata` says which it is.
  `reset(options={{"reset_mask": ...}})` restarts some of the environments. The scalar one has no options.
- **Rendering**: `render_mode` {join_names(RENDER_MODES, "or")}, in the scalar environment."""


def observation_section(env: "AutoscaleEnv") -> str:
    """Return the groups of numbers of an observation."""
    from podgym.envs import observation
    from podgym.envs.config import ObservationConfig

    config = env.config.observation
    groups = (
        (f"history, {config.lags} lags", observation.HISTORY, config.lags),
        ("present", observation.PRESENT, 1),
        (f"forecast, {config.horizon_minutes} minutes", observation.FORECAST_PARTS, config.horizon_minutes),
        ("plan", observation.PLAN, 1),
        ("clock, once", observation.CLOCK, 1),
    )
    rows = [
        (group, f"`{feature.name}`", f"{count}", f"{feature.low:g} to {feature.high:g}", feature.meaning)
        for group, features, count in groups
        for feature in features
    ]
    per_service = sum(count * len(features) for _, features, count in groups[:-1])
    clock = len(observation.CLOCK)
    return f"""\
A `Box` of float32 with fixed bounds, and clipped to them. It is what the monitoring pipeline shows, late and
noisy, not what the simulator knows; what was not measured yet reads 0, and its age says so. There are
{per_service} numbers for each service, one service after the other, and {clock} of the clock.
`env.unwrapped.observation_names` names them all, such as `{env.observation_names[0]}`.

{markdown_table(("group", "name", "numbers", "range", "meaning"), rows)}

In the history the numbers of one lag stand together, the newest lag (0) first; in the forecast all minutes of
the mean, then those of the lower and of the upper end. Without a planner the plan is what each service starts
with.

{markdown_table(_SETTINGS, described_settings(ObservationConfig(), "observation."))}"""


def action_section(env: "AutoscaleEnv") -> str:
    """Return the action spaces and what choices mean."""
    from podgym.envs.actions import ActionDecoder
    from podgym.envs.config import ActionConfig, ActionMode

    cluster = env.config.cluster
    spaces = []
    for mode in get_args(ActionMode):
        decoders = [ActionDecoder(ActionConfig(mode=mode, quotas=each), cluster) for each in (True, False)]
        both = [" ".join(str(decoder.space).split()) for decoder in decoders]
        spaces.append((f"`{mode}`", *(f"`{text}`" for text in both), _MODES[mode]))
    config = ActionConfig()
    still = ActionDecoder(config, cluster).null_action.tolist()
    return f"""\
Replicas, CPU request and memory request for each service, one service after the other. For one service of the
default cluster:

{markdown_table(("mode", "with quotas", "replicas only", "meaning"), spaces)}

In the default mode, `{config.mode}`, choice i of the replicas is the step `replica_steps[i]`, and choice i of
CPU and of memory moves by `quota_steps[i]` of the service's levels. `{still}` changes nothing. Limits follow
requests by the service's ratios. Whatever is asked, the result stays within the bounds of the service, and
within `max_increase` and `max_decrease`; a changed quota rolls out to all pods. An action outside the space
is an error. `action_masks()` tells which choices have an effect of their own.

{markdown_table(_SETTINGS, described_settings(config, "action."))}"""


def reward_section() -> str:
    """Return terms and weights."""
    from podgym.envs.config import REWARD_PRESETS, REWARD_TERMS, RewardConfig

    rows = [
        (f"`{term}`", meaning, *(f"{weights.get(term, 0.0):g}" for weights in REWARD_PRESETS.values()))
        for term, meaning in REWARD_TERMS.items()
    ]
    presets = [f"`{name}`" for name in REWARD_PRESETS]
    return f"""\
The sum of weight times term. Every term adds up over time, so the length of the control interval does not
shift the balance between them. `info` has each under `term_NAME`.

{markdown_table(("term", "what it is", *presets), rows)}

In `slo_cost` the unit is a core-second. The cost in the tables of this package is minus its sum over an
episode. `paper` is the objective F = 0.5 U_cpu + 0.5 U_mem - R.

{markdown_table(_SETTINGS, described_settings(RewardConfig(), "reward."))}"""


def info_section() -> str:
    """Return the keys of ``info``."""
    from podgym.envs.totals import INFO_KEYS

    return markdown_table(("key", "meaning"), [(f"`{key}`", text) for key, text in INFO_KEYS.items()])


def splits_section(envs: "Mapping[str, AutoscaleEnv]") -> str:
    """Return which seeds and parts are for what."""
    from podgym.envs.core import open_workload
    from podgym.envs.splits import DEV_SEEDS, TEST_SEEDS, TRAIN_SEEDS

    rows = [
        (f"`{part}`", f"{seeds.start} to {seeds.stop - 1}", purpose)
        for part, seeds, purpose in (
            ("train", TRAIN_SEEDS, "to learn and to search on"),
            ("dev", DEV_SEEDS, "to choose among the best"),
            ("test", TEST_SEEDS, "for published results; `podgym train` and `podgym tune` cannot open it"),
        )
    ]
    whole = [name for name, env in envs.items() if not hasattr(open_workload(env.config), "part")]
    return f"""\
{markdown_table(("part", "seeds", "for"), rows)}

The loads of all but {join_names([each.removeprefix("podgym/") for each in whole])} are cut into these parts
as well, `workload_options={{"part": "test"}}`: a trace by time (70, 15 and 15 %), a generated family by its
random numbers. Episodes of two parts never coincide, whatever their seeds. `podgym.envs.splits` holds these
rules."""


CHANGING = """\
Every setting on this page is a field of `EnvConfig`, a typed, frozen dataclass. A misspelt key is an error
that names the closest.

```python
import gymnasium as gym
import podgym

env = gym.make(
    "podgym/Burst-v0",
    cluster={"nodes": {"count": 8}, "services": {"web": {"max_replicas": 50}}},
    action={"mode": "absolute", "quotas": False},
    observation={"lags": 4, "forecast": "oracle"},
    reward={"weights": {"churn": -5.0}},
    workload_options={"user_variation": 0.1},
    episode_s=600,
)
```

The same on the command line, one `--set KEY=VALUE` each, for `podgym evaluate`, `podgym tune` and
`podgym dataset` (for `podgym train`: `--set env_kwargs.KEY=VALUE`):

```sh
podgym evaluate --env podgym/Burst-v0 --controller hpa --set cluster.nodes.count=8 \\
    --set cluster.services.web.max_replicas=50 --set reward.weights.churn=-5
```

`gym.make` also takes objects, `workload=`, `planner=` and `forecaster=`: see [extending](extending.md).
`podgym envs ID` prints one id with every value and its source, `podgym envs ID --json` the same for
programs."""


def load_section() -> str:
    """Return what can be said of the load."""
    from podgym.envs.config import EnvConfig
    from podgym.envs.randomisation import RandomisationConfig
    from podgym.envs.workloads import WORKLOADS, families
    from podgym.envs.workloads.families import FamilyGrid

    whole = [row for row in described_settings(EnvConfig(), "") if "." not in row[0]]
    shapes = [line for line in str(families.__doc__).splitlines() if line.startswith("|")]
    return f"""\
{markdown_table(_SETTINGS, whole)}

A workload gives the load of an episode; the simulator adds the scatter of the arrivals. There are
{join_names(list(WORKLOADS))}; the path of a CSV or parquet file names a trace of yours.

The shapes of the generated families, relative to the mean rate of the episode:

{chr(10).join(shapes)}

Each episode draws its parameters uniformly between these bounds, which `workload_options.grid.KEY` changes:

{markdown_table(("parameter", "default", "meaning"), described_settings(FamilyGrid(), ""))}

The cluster, too, can differ from episode to episode. Each factor multiplies what is configured:

{markdown_table(_SETTINGS, described_settings(RandomisationConfig(), "randomisation."))}"""


def cluster_section(env: "AutoscaleEnv") -> str:
    """Return every constant of the default cluster with its source."""
    known = {entry.name: entry for entry in env.provenance()}
    sections: dict[str, list[tuple[str, ...]]] = {}
    for code, value, meaning in described_settings(env.config.cluster, "cluster."):
        key = code.strip("`")
        entry = known.get(key)
        path, _, last = key.rpartition(".")
        bare = entry is None or entry.unit in ("-", "1") or last.endswith("_bytes")
        unit = "" if bare or entry is None else f" {entry.unit}"
        source = "" if entry is None else f"{'**measured**: ' if entry.measured else ''}{entry.source}"
        sections.setdefault(path, []).append((f"`{last}`", value + unit, meaning, source))
    guessed = sum(not entry.measured for entry in known.values())
    tables = [
        f"`{path}.`\n\n{markdown_table((*_SETTINGS, 'source'), rows)}" for path, rows in sections.items()
    ]
    introduction = f"""\
The defaults are one service on the testbed of a published experiment. {len(known)} constants carry a unit and
a source; {guessed} of them were chosen, fitted or assumed rather than measured, and their source says so.
Every result is stamped with the list. Memory is shown in MiB here and configured in bytes.
[The simulator](simulator.md) tells what they do, [calibration](calibration.md) how some were fitted."""
    return "\n\n".join([introduction, *tables])
