"""Offline datasets in the format of Minari: transitions, and everything that is needed to make them again.

Minari (https://minari.farama.org, MIT) is the Farama Foundation's format for offline reinforcement learning.
A dataset is a folder with one Arrow file per episode. Ours says under the key ``podgym`` of its metadata who
decided, in which configuration, behind which forecaster and planner, with which versions and which command.
"""

import copy
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from podgym import __version__
from podgym.agents.description import PlannerSpec
from podgym.agents.running import open_planner
from podgym.envs.actions import ActionDecoder
from podgym.envs.config import EnvConfig, override
from podgym.envs.env import AutoscaleEnv
from podgym.envs.make import scenario_config
from podgym.envs.observation import ObservationLayout
from podgym.envs.registration import ENVIRONMENT_IDS
from podgym.envs.simulator.constants import provenance
from podgym.errors import InputError
from podgym.eval.episode import library_versions
from podgym.eval.transitions import Transitions
from podgym.files import to_json, usable_folder
from podgym.forecasters.choice import NAIVE, forecaster_file, forecaster_sha256, open_forecaster

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec
    from minari import MinariDataset

FORMAT = "podgym dataset/1"
KEY = "podgym"
"""Key of our entry in Minari's metadata."""

_ROOT = "MINARI_DATASETS_PATH"
_NAME = re.compile(r"(?:[-\w]{2,}/(?:[-\w]+/)*)?[-\w]+-v\d+")
_SCENARIO = "scenario"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the episodes of a dataset come from."""

    environment: str
    """Id."""
    config: EnvConfig
    """Configuration, as the environment had it."""
    decided_by: str
    """Name of the controller, or algorithm of the policy."""
    facts: Mapping[str, Any]
    """What else to say of whoever decided: options, or file and hash of a policy."""
    planner: PlannerSpec | None = None
    """Whose plans stand in the observation; None: what each service starts with."""
    forecaster: str = NAIVE
    """Forecaster behind plans and observation: ``shipped``, ``oracle``, ``naive`` (none) or a file."""
    forecast_shown: bool = False
    """Whether the observation has its forecasts, or the plans alone."""
    command: str = ""
    """What made the dataset."""
    remarks: tuple[str, ...] = ()
    """What a user should know."""


def require_minari() -> None:
    """Refuse to begin where Minari is not installed.

    Raises:
        InputError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("minari") is None:
        raise InputError("datasets need minari; install with pip install 'podgym[datasets]'.")


def datasets_root(folder: str | Path | None = None) -> Path:
    """Return the folder of all datasets: the one given, ``$MINARI_DATASETS_PATH``, or Minari's own.

    Raises:
        InputError: it cannot be written to.
    """
    given = folder if folder is not None else os.environ.get(_ROOT)
    return usable_folder(given if given is not None else Path.home() / ".minari" / "datasets")


def check_name(name: str, root: Path) -> str:
    """Return the name of a new dataset.

    Raises:
        InputError: not of Minari's form, or there is such a dataset.
    """
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"dataset name {name!r}: NAMESPACE/NAME-vN is needed, of letters, digits, - and _, such as "
            "mine/burst-hpa-v0."
        )
    if (root / name).exists():
        version = int(name.rpartition("-v")[2])
        following = f"{name.rpartition('-v')[0]}-v{version + 1}"
        raise InputError(
            f"there is a dataset {name} in {root}; give the new one another name, such as {following}, or "
            f"remove {root / name}."
        )
    return name


def write_dataset(root: Path, name: str, source: Source, episodes: Iterable[Transitions]) -> Path:
    """Write a dataset, whole or not at all; the episodes are taken one by one.

    Args:
        root: folder of all datasets.
        name: of the new one, ``NAMESPACE/NAME-vN``.
        source: where the episodes come from.
        episodes: one or more.

    Returns:
        Its folder.

    Raises:
        InputError: see ``check_name`` and ``require_minari``, or a folder that cannot be written to, of which
            nothing is left behind.
    """
    require_minari()
    check_name(name, root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".unfinished-") as scratch:
            with _minari_root(Path(scratch)):
                _write(name, source, episodes)
            _move(Path(scratch), root, name)
    except OSError as error:
        raise InputError(f"dataset {name} cannot be written to {root}: {error.strerror or error}.") from error
    return root / name


def load_dataset(root: Path, name: str) -> "MinariDataset":
    """Return a dataset; the same as ``minari.load_dataset`` with ``MINARI_DATASETS_PATH`` set to ``root``.

    Raises:
        InputError: there is none of this name, or Minari is not installed.
    """
    require_minari()
    from minari import MinariDataset

    data = root / name / "data"
    if not data.is_dir():
        raise InputError(f"there is no dataset {name} in {root}.")
    return MinariDataset(data)


def dataset_environment(dataset: "MinariDataset") -> AutoscaleEnv:
    """Return the environment that a dataset was recorded in, with its forecaster and planner.

    ``dataset.recover_environment()`` is the same environment without them.

    Raises:
        InputError: not a dataset of this package, or a forecaster that is gone or another one now.
    """
    entry = dataset.storage.metadata.get(KEY)
    if not isinstance(entry, Mapping) or entry.get("format") != FORMAT:
        raise InputError(f"dataset {dataset.id} was not made by podgym dataset; its metadata lack {KEY!r}.")
    config = override(scenario_config(ENVIRONMENT_IDS[entry["environment"]]), entry["changes"])
    file = forecaster_file(entry["forecaster"], config.workload)
    if forecaster_sha256(file) != entry["forecaster_sha256"]:
        raise InputError(
            f"the forecaster {entry['forecaster']} is not the one that dataset {dataset.id} was made with; "
            "restore that file."
        )
    rates = None if file is None else open_forecaster(file)
    spec = None if entry["planner"] is None else PlannerSpec(**entry["planner"])
    return AutoscaleEnv(
        config, planner=open_planner(spec, rates), forecaster=rates if entry["forecast_shown"] else None
    )


def config_changes(base: object, config: object) -> dict[str, Any]:
    """Return the settings in which two configurations of one id differ, as ``override`` takes them."""
    changes: dict[str, Any] = {}
    for item in fields(base):  # type: ignore[arg-type]
        old, new = getattr(base, item.name), getattr(config, item.name)
        if item.name == "services":
            each = {a.name: config_changes(a, b) for a, b in zip(old, new, strict=True) if a != b}
            changes |= {item.name: each} if each else {}
        elif is_dataclass(old):
            inner = config_changes(old, new)
            changes |= {item.name: inner} if inner else {}
        elif old != new:
            changes[item.name] = _plain(new)
    return changes


def _plain(value: Any) -> Any:  # noqa: ANN401  (any setting)
    """Return a setting without dataclasses, such as planned failures of nodes."""
    if isinstance(value, tuple):
        return [asdict(each) if is_dataclass(each) and not isinstance(each, type) else each for each in value]
    return value


def _changes(source: Source) -> dict[str, Any]:
    """Return what differs from the id's own configuration; that a forecast is learned says the forecaster."""
    changes = config_changes(scenario_config(ENVIRONMENT_IDS[source.environment]), source.config)
    observation = changes.get("observation", {})
    if source.forecast_shown and observation.pop("forecast", None) and not observation:
        del changes["observation"]
    plain: dict[str, Any] = json.loads(to_json(changes))
    return plain


@contextmanager
def _minari_root(root: Path) -> Iterator[None]:
    """Let Minari, which takes its folder from the environment variables, work in another one."""
    before = os.environ.get(_ROOT)
    os.environ[_ROOT] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ROOT]
        else:
            os.environ[_ROOT] = before


def _write(name: str, source: Source, episodes: Iterable[Transitions]) -> None:
    from minari import create_dataset_from_buffers

    spec, config = _environment_spec(source), source.config
    about: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # advice on authors and addresses
        dataset = create_dataset_from_buffers(
            name,
            _buffers(episodes, about),
            env=spec,
            eval_env=spec,
            observation_space=ObservationLayout(config.observation, config.cluster).space,
            action_space=ActionDecoder(config.action, config.cluster).space,
            algorithm_name=source.decided_by,
            description=_description(source),
            data_format="arrow",
            requirements=[f"podgym=={__version__}"],
        )
    if not about:
        raise InputError("a dataset needs one episode or more.")
    dataset.storage.update_episode_metadata(about)
    dataset.storage.update_metadata({KEY: _entry(source, about)})


def _move(scratch: Path, root: Path, name: str) -> None:
    """Move a dataset, and the namespaces that Minari wrote for it, to where it is to be.

    The outermost folder that is not there yet is moved in one step, so that a failure leaves nothing of it.
    """
    from minari.namespace import NAMESPACE_METADATA_FILENAME as ABOUT

    dataset = Path(name)
    for namespace in reversed(dataset.parents[:-1]):  # the outermost first
        if not (root / namespace).exists():
            os.replace(scratch / namespace, root / namespace)
            return
        if not (root / namespace / ABOUT).exists():
            os.replace(scratch / namespace / ABOUT, root / namespace / ABOUT)
    os.replace(scratch / dataset, root / dataset)


def _environment_spec(source: Source) -> "EnvSpec":
    """Return the specification that ``recover_environment`` makes an environment of."""
    spec = copy.deepcopy(gym.spec(source.environment))  # the registered one stays as it is
    changes = _changes(source)
    spec.kwargs = {_SCENARIO: ENVIRONMENT_IDS[source.environment], **changes}
    return spec


def _buffers(episodes: Iterable[Transitions], about: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield what Minari takes, and note of each episode what stands in its metadata."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    for episode in episodes:
        yield EpisodeBuffer(
            seed=episode.seed,
            observations=episode.observations,
            actions=episode.actions,
            rewards=episode.rewards.tolist(),
            terminations=episode.terminations.tolist(),
            truncations=episode.truncations.tolist(),
            infos={key: values.tolist() for key, values in episode.infos.items()},
        )
        about.append(
            {
                "load": episode.load,
                "load_sha256": episode.load_sha256,
                "return": float(episode.rewards.sum()),
            }
        )


def _entry(source: Source, about: list[dict[str, Any]]) -> dict[str, Any]:
    config = source.config
    file = forecaster_file(source.forecaster, config.workload)
    content = {
        "format": FORMAT,
        "environment": source.environment,
        "changes": _changes(source),
        "configuration": asdict(config),
        "decided_by": {"name": source.decided_by, **source.facts},
        "planner": None if source.planner is None else asdict(source.planner),
        "forecaster": source.forecaster,
        "forecaster_sha256": forecaster_sha256(file),
        "forecast_shown": source.forecast_shown,
        "observation_names": list(ObservationLayout(config.observation, config.cluster).names),
        "constants": [entry.as_dict() for entry in provenance(config.cluster, "cluster.")],
        "mean_return": sum(each["return"] for each in about) / len(about),
        "command": source.command,
        "versions": library_versions(),
        "remarks": list(source.remarks),
    }
    plain: dict[str, Any] = json.loads(to_json(content))
    return plain


def _description(source: Source) -> str:
    behind = []
    if source.forecaster != NAIVE:
        behind.append(f"the forecaster {Path(source.forecaster).name}")
    if source.planner is not None:
        behind.append(f"the plans of {source.planner.controller}")
    text = (
        f"{source.decided_by} on {source.environment}, a simulated Kubernetes cluster. Rewards are sums over "
        "each control interval; episodes are truncated at their time limit, never terminated."
    )
    if behind:
        text += (
            f" Behind the observation stand {' and '.join(behind)}: "
            "podgym.eval.datasets.dataset_environment makes the environment with them."
        )
    return text
