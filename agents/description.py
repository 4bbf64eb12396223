"""What a policy is, but for its numbers: which environment it was made for, what it sees, what it decides."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

from podgym import __version__
from podgym.agents.json_fields import JsonFields, plain_json
from podgym.errors import InputError, require_whole, unknown_name

Algorithm = Literal["ppo", "maskable_ppo", "recurrent_ppo"]
Activation = Literal["relu", "tanh"]

FORMAT = "podgym policy"
"""What the file says it is."""
FORMAT_VERSION = 1
"""Raised whenever an older program could not use the file."""
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)
"""What a policy can have been trained with."""
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
"""Functions between the layers of a network."""

_MOST = 10**6  # choices, units, replicas
_DEFAULT_MODE = "delta"  # of the actions, see ActionConfig


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One service as the policy knows it."""

    name: str
    """Name of the service."""
    min_replicas: int
    """Fewest replicas that may be wanted."""
    max_replicas: int
    """Most replicas that it was trained to want: observations count in shares of them."""
    cpu_levels_cores: tuple[float, ...]
    """CPU requests to choose from, cores, ascending."""
    memory_levels_bytes: tuple[float, ...]
    """Memory requests to choose from, bytes, ascending."""

    def __post_init__(self) -> None:
        require_whole(f"min_replicas of service {self.name!r}", self.min_replicas, 0, _MOST)
        require_whole(f"max_replicas of service {self.name!r}", self.max_replicas, 1, _MOST)
        for name in ("cpu_levels_cores", "memory_levels_bytes"):
            levels = getattr(self, name)
            if not levels or levels[0] <= 0.0 or list(levels) != sorted(set(levels)):
                raise InputError(
                    f"{name} of service {self.name!r} is {levels}; it must be ascending numbers above 0."
                )


@dataclass(frozen=True, slots=True)
class PriorSpec:
    """The plan as a prior on the logits; see ``podgym.agents.prior``. All numbers are in units of logits."""

    strength: float = 1.0
    """Taken off per replica of distance between a step and what the plan asks for."""
    cap: float = 3.0
    """Distance, in replicas or levels, beyond which nothing more is taken off."""
    keep: float = 0.5
    """Added to the step 0 of the replicas."""
    quota_strength: float = 4.0
    """Taken off per level of distance, for CPU and memory."""

    def __post_init__(self) -> None:
        for name in ("strength", "cap", "keep", "quota_strength"):
            value = getattr(self, name)
            if not 0.0 <= value <= _MOST:
                raise InputError(f"{name} of the prior is {value!r}; it must be a number of 0 or more.")


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Shape of the network of the actor."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer; none: logits are linear in the observation."""
    activation: Activation = "relu"
    """Function after each hidden layer."""
    lstm_size: int | None = None
    """Units of the LSTM before the hidden layers; None: there is none."""
    derived: bool = False
    """Whether it also sees the numbers of ``podgym.agents.derived``."""

    def __post_init__(self) -> None:
        for units in self.hidden:
            require_whole("units of a hidden layer", units, 1, _MOST)
        if self.lstm_size is not None:
            require_whole("lstm_size", self.lstm_size, 1, _MOST)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)


@dataclass(frozen=True, slots=True)
class PlannerSpec:
    """Who makes the plan in the observation: ``make_controller(controller, **options).planner(rates)``."""

    controller: str = "lstm_ga"
    """Name of a controller that plans."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its options, JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", plain_json(self.options, "planner.options"))


@dataclass(frozen=True, slots=True)
class PolicyDescription:
    """Everything about a policy except its numbers.

    Raises:
        InputError: fields that contradict each other or cannot be used.
    """

    algorithm: Algorithm
    """What it was trained with."""
    environment: str
    """Id of the environment that it was trained in, such as ``podgym/Burst-v0``."""
    observation_names: tuple[str, ...]
    """(n,) what it sees, in the order of the environment's ``observation_names``."""
    action_nvec: tuple[int, ...]
    """(k,) choices of each number of an action."""
    services: tuple[ServiceSpec, ...]
    """Services, in the order of the environment."""
    replica_steps: tuple[int, ...]
    """Steps of the replicas that an action chooses from, replicas."""
    network: NetworkSpec = field(default_factory=NetworkSpec)
    """Shape of the network."""
    quota_steps: tuple[int, ...] = (-1, 0, 1)
    """Steps of CPU and memory, in levels; empty: an action decides replicas only."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``EnvConfig`` that differ from the id's configuration, as ``override`` takes them; JSON."""
    prior: PriorSpec | None = None
    """The plan as a prior on the logits; None: the network alone decides."""
    clip: float = 5.0
    """Normalised observations are clipped to plus and minus this."""
    planner: PlannerSpec | None = None
    """Who makes the plan in the observation; None: the environment's own, which changes nothing."""
    forecaster: str | None = None
    """Behind the observation and the plan: ``shipped``, ``oracle``, ``naive`` or None, or the name of a
    file."""
    forecaster_sha256: str | None = None
    """Hash of the forecaster's file; None: not known, or it is no file."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from: command, seed, steps, hashes of the data, results; free JSON."""
    podgym_version: str = __version__
    """Version of podgym that made it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "changes", plain_json(self.changes, "changes"))
        object.__setattr__(self, "provenance", plain_json(self.provenance, "provenance", lenient=True))
        if self.algorithm not in ALGORITHMS:
            raise unknown_name("algorithm", self.algorithm, ALGORITHMS)
        if not 0.0 < self.clip < float("inf"):
            raise InputError(f"clip is {self.clip!r}; it must be a finite number above 0.")
        if len(set(self.observation_names)) != len(self.observation_names) or not self.observation_names:
            raise InputError("observation_names is empty or names a number twice.")
        if not self.action_nvec or not self.services:
            raise InputError("a policy needs at least one service and one number in its actions.")
        for choices in self.action_nvec:
            require_whole("a number of action_nvec", choices, 1, _MOST)
        if (self.algorithm == "recurrent_ppo") != self.recurrent:
            raise InputError(
                f"algorithm is {self.algorithm!r} and lstm_size {self.network.lstm_size}; an LSTM belongs to "
                "recurrent_ppo, and to it alone."
            )
        if self.prior is not None:
            self._check_prior()

    @property
    def action_mode(self) -> str:
        """Mode of the actions, as in ``ActionConfig``."""
        action = self.changes.get("action", {})
        nested = action.get("mode", _DEFAULT_MODE) if isinstance(action, Mapping) else _DEFAULT_MODE
        return str(self.changes.get("action.mode", nested))

    @property
    def recurrent(self) -> bool:
        """Whether the policy has a state that goes from step to step."""
        return self.network.lstm_size is not None

    @property
    def masked(self) -> bool:
        """Whether the policy was trained with masks of the choices that have no effect of their own."""
        return self.algorithm == "maskable_ppo"

    def as_dict(self) -> dict[str, Any]:
        """Return the description as plain JSON, with the name and version of the format."""
        content = plain_json(asdict(self), "the description")
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **content}

    @classmethod
    def from_dict(cls, content: object) -> "PolicyDescription":
        """Return the description of ``as_dict``, with every type checked.

        Raises:
            InputError: another format or version, a field that is missing, unknown or of a wrong type; the
                message names it.
        """
        fields = JsonFields(content)
        _check_format(fields)
        services = tuple(_service(each) for each in fields.nested_list("services"))
        network, prior = fields.nested("network"), fields.nested_or_none("prior")
        planner = fields.nested_or_none("planner")
        result = cls(
            algorithm=cast(Algorithm, fields.text("algorithm")),  # checked on construction
            environment=fields.text("environment"),
            observation_names=fields.texts("observation_names"),
            action_nvec=fields.wholes("action_nvec"),
            services=services,
            replica_steps=fields.wholes("replica_steps"),
            network=_network(network),
            quota_steps=fields.wholes("quota_steps"),
            changes=fields.free("changes"),
            prior=None if prior is None else _prior(prior),
            clip=fields.number("clip"),
            planner=None if planner is None else _planner(planner),
            forecaster=fields.text_or_none("forecaster"),
            forecaster_sha256=fields.text_or_none("forecaster_sha256"),
            provenance=fields.free("provenance"),
            podgym_version=fields.text("podgym_version"),
        )
        fields.finish()
        return result

    def _check_prior(self) -> None:
        """Refuse a prior that fits neither the actions nor the observation."""
        if self.action_mode != _DEFAULT_MODE:
            raise InputError(
                f"the prior is on steps from what is wanted (action mode {_DEFAULT_MODE!r}), but the actions "
                f"have the mode {self.action_mode!r}; leave the prior out."
            )
        steps = (self.replica_steps, self.quota_steps, self.quota_steps)
        choices = tuple(len(each) for each in steps if each) * len(self.services)
        if self.action_nvec != choices or not self.replica_steps:
            raise InputError(
                f"action_nvec is {self.action_nvec}; with these services and steps it must be {choices}."
            )
        for service in self.services:
            for name in prior_columns(service.name, quotas=bool(self.quota_steps)):
                if name not in self.observation_names:
                    raise unknown_name("number that the prior reads in the observation", name,
                                       self.observation_names[:40])  # fmt: skip


def prior_columns(service: str, *, quotas: bool) -> tuple[str, ...]:
    """Return the numbers of the observation that the prior of one service reads.

    Args:
        service: name of the service.
        quotas: whether CPU and memory are part of the action.

    Returns:
        Pairs of planned and present: replicas and, with quotas, CPU request and memory request.
    """
    replicas = (f"{service}.plan_replicas", f"{service}.replicas_wanted[-0]")
    if not quotas:
        return replicas
    kinds = ("cpu", "memory")
    pairs = [(f"{service}.plan_{kind}_request", f"{service}.{kind}_request") for kind in kinds]
    return (*replicas, *pairs[0], *pairs[1])


def _check_format(fields: JsonFields) -> None:
    kind, version = fields.take("format"), fields.take("format_version")
    if kind != FORMAT:
        raise InputError(f"this is no policy but {kind!r}; `podgym train` writes policies.")
    if version != FORMAT_VERSION:
        raise InputError(
            f"the format version is {version!r}; this podgym ({__version__}) reads version {FORMAT_VERSION}. "
            "Train the policy again, or use the podgym that wrote it."
        )


def _service(fields: JsonFields) -> ServiceSpec:
    result = ServiceSpec(
        name=fields.text("name"),
        min_replicas=fields.whole("min_replicas"),
        max_replicas=fields.whole("max_replicas"),
        cpu_levels_cores=fields.numbers("cpu_levels_cores"),
        memory_levels_bytes=fields.numbers("memory_levels_bytes"),
    )
    fields.finish()
    return result


def _network(fields: JsonFields) -> NetworkSpec:
    result = NetworkSpec(
        hidden=fields.wholes("hidden"),
        activation=cast(Activation, fields.text("activation")),  # checked on construction
        lstm_size=fields.whole_or_none("lstm_size"),
        derived=fields.flag("derived", default=False),
    )
    fields.finish()
    return result


def _prior(fields: JsonFields) -> PriorSpec:
    result = PriorSpec(
        strength=fields.number("strength"),
        cap=fields.number("cap"),
        keep=fields.number("keep"),
        quota_strength=fields.number("quota_strength"),
    )
    fields.finish()
    return result


def _planner(fields: JsonFields) -> PlannerSpec:
    result = PlannerSpec(fields.text("controller"), fields.free("options"))
    fields.finish()
    return result
