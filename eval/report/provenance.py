"""Where every number comes from: episodes, seeds, hashes, versions, commands, and each constant's source."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from podgym.envs.config import REWARD_TERMS, EnvConfig
from podgym.envs.env import AutoscaleEnv
from podgym.envs.simulator.constants import Provenance
from podgym.errors import InputError
from podgym.eval.protocol.definition import Protocol
from podgym.eval.protocol.entrants import protocol_config, short_id
from podgym.eval.protocol.protocol_file import read_protocol, shipped_protocols
from podgym.eval.protocol.run import PROTOCOL_FILE
from podgym.eval.report.blocks import Block, Cell, Code, Column, Details, Paragraph, Table
from podgym.eval.report.numbers import number
from podgym.eval.report.run_files import RESULTS_FILE, SUMMARY_FILE, Run
from podgym.eval.report.what_ran import file_sha256
from podgym.eval.tuning.run import configuration_sha256

_KIND_KEYS = ("controller", "policy", "runs", "bound")

Entry = Mapping[str, Any]


def episode_table(run: Run) -> Table:
    """Return what was run on each environment: seeds, length and load."""
    columns = (
        Column("environment", numeric=False), Column("episodes"), Column("seeds", numeric=False),
        Column("length, min"), Column("a decision every, s"), Column("SLO, ms"),
        Column("load", numeric=False),
    )  # fmt: skip
    rows = tuple(_episode_cells(run, said) for said in run.document["environments"])
    return Table("Episodes, the same ones for every method", columns, rows)


def _episode_cells(run: Run, said: Entry) -> tuple[Cell, ...]:
    config = protocol_config(run.protocol, said["environment"])
    seeds = run.protocol.seeds
    minutes = AutoscaleEnv(config).episode_steps * config.cluster.control_interval_s / 60.0
    slo_ms = sorted({1e3 * service.slo_response_time_s for service in config.cluster.services})
    return (
        Cell(short_id(said["environment"])),
        Cell(str(said["episodes"])),
        Cell(f"{seeds[0]} to {seeds[-1]}"),
        Cell(f"{minutes:g}"),
        Cell(f"{config.cluster.control_interval_s:g}"),
        Cell(" to ".join(f"{each:g}" for each in dict.fromkeys((slo_ms[0], slo_ms[-1])))),
        Cell(_load(config)),
    )


def hash_table(run: Run) -> Table:
    """Return the hashes of what was run on each environment."""
    columns = (
        "environment",
        "SHA-256 of all loads, in the order of the seeds",
        "SHA-256 of the configuration",
    )
    rows = tuple(
        (
            Cell(short_id(said["environment"])), Cell(said["loads_sha256"], code=True),
            Cell(configuration_sha256(protocol_config(run.protocol, said["environment"])), code=True),
        )
        for said in run.document["environments"]
    )  # fmt: skip
    return Table(
        "Hashes of loads and configurations", tuple(Column(name, numeric=False) for name in columns), rows
    )


def _load(config: EnvConfig) -> str:
    part = config.workload_options.get("part")
    return config.workload + (f", part {part}" if part else "")


def repeat_blocks(run: Run) -> tuple[Block, ...]:
    """Return how to run it again: command, declaration, versions and hashes of the files."""
    versions = run.document["versions"]
    files = tuple(
        (Cell(name), Cell(file_sha256(run.folder / name) or "", code=True))
        for name in (PROTOCOL_FILE, SUMMARY_FILE, RESULTS_FILE)
    )
    return (
        Code(command(run)),
        Details("The protocol as it was declared", (Code(protocol_yaml(run.protocol)),)),
        Table(
            "Versions that ran it",
            (Column("of", numeric=False), Column("version", numeric=False)),
            tuple((Cell(name), Cell(str(value))) for name, value in versions.items()),
        ),
        Table(
            "Files that this page was made from",
            (Column("file", numeric=False), Column("SHA-256", numeric=False)),
            files,
        ),
    )


def command(run: Run) -> str:
    """Return the commands that make the results and this page again."""
    name, declared = run.protocol.name, False
    if name in shipped_protocols():
        try:
            declared = read_protocol(name) == run.protocol
        except InputError:
            declared = False
    source = name if declared else f"{name}.yml"
    first = "" if declared else f"# {name}.yml: the declaration below\n"
    return f"{first}podgym evaluate --protocol {source} --output results/{name}\npodgym report results/{name}"


def protocol_yaml(protocol: Protocol) -> str:
    """Return a protocol as the YAML that declares it."""
    content = _plain(protocol.as_dict())
    content["methods"] = [_declared(each) for each in content["methods"]]
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


def _declared(method: dict[str, Any]) -> dict[str, Any]:
    """Return a method with what it is first, and without what goes without saying."""
    kind = next(key for key in _KIND_KEYS if key in method)
    unsaid: dict[str, object] = {"changes": {}, "vary": {}}
    rest = {name: value for name, value in method.items() if name != kind and value != unsaid.get(name)}
    return {kind: method[kind], **{name: value for name, value in rest.items() if value is not False}}


def _plain(value: Any) -> Any:  # noqa: ANN401  (any plain data)
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def cost_words(run: Run) -> str:
    """Return what a cost is, from the weights of the first environment."""
    config = protocol_config(run.protocol, run.fields[0].environment)
    weights = dict(zip(REWARD_TERMS, config.reward.all_weights(), strict=True))
    terms = {
        "slo_violation": "a second in which every request misses its SLO or fails (of some, their share)",
        "cpu_cost": "a core requested for a second",
        "memory_cost": "a GiB requested for a second",
        "churn": "a replica added or removed by a decision",
    }
    parts = [f"{-weights[name]:g} for {words}" for name, words in terms.items() if weights[name]]
    return f"The cost of an episode counts {'; '.join(parts)}. Lower is better."


def constant_blocks(run: Run) -> tuple[Block, ...]:
    """Return every constant of the environments with its source; those that differ between them apart."""
    by_environment = {
        short_id(field.environment): AutoscaleEnv(
            protocol_config(run.protocol, field.environment)
        ).provenance()
        for field in run.fields
    }
    return constants_of(by_environment, "environments")


def constants_of(by_place: Mapping[str, Sequence[Provenance]], places: str) -> tuple[Block, ...]:
    """Return every constant with its source; those that are not the same everywhere apart.

    Args:
        by_place: constants by where they hold.
        places: what those are, in the plural.
    """
    entries: dict[tuple[Any, ...], list[str]] = {}
    for place, constants in by_place.items():
        for each in constants:
            key = (each.name, str(each.value), each.unit, each.source, each.measured)
            entries.setdefault(key, []).append(place)
    everywhere = [key for key, names in entries.items() if len(names) == len(by_place)]
    others = [(key, names) for key, names in entries.items() if len(names) < len(by_place)]
    guessed = sum(not key[4] for key in entries)
    text = (
        f"The simulated clusters rest on {len(entries)} constants; {len(entries) - guessed} were measured by "
        f"their source, {guessed} were chosen or assumed."
    )
    blocks: list[Block] = [Paragraph(text)]
    if everywhere:
        name = f"all {places}" if len(by_place) > 1 else next(iter(by_place))
        blocks.append(Details(f"Constants of {name}", (_constant_table(f"Constants of {name}", everywhere),)))
    if others:
        title = f"Constants that differ between {places}"
        others.sort(key=lambda item: item[0][0])
        names = [names for _, names in others]
        table = _constant_table(title, [key for key, _ in others], names, places)
        blocks.append(Details(title, (table,)))
    return tuple(blocks)


def _constant_table(
    caption: str, keys: Sequence[tuple[Any, ...]], names: Sequence[Sequence[str]] = (), places: str = ""
) -> Table:
    columns = [Column("constant", numeric=False), Column("value"), Column("unit", numeric=False),
               Column("measured", numeric=False), Column("source", numeric=False)]  # fmt: skip
    rows = []
    for place, (name, value, unit, source, measured) in enumerate(keys):
        cells = [
            Cell(str(name).removeprefix("cluster."), code=True), Cell(_value(value)), Cell(unit),
            Cell("yes" if measured else "no"), Cell(source),
        ]  # fmt: skip
        if names:
            cells.insert(1, Cell(", ".join(names[place])))
        rows.append(tuple(cells))
    if names:
        columns.insert(1, Column(places, numeric=False))
    return Table(caption, tuple(columns), tuple(rows))


def _value(text: str) -> str:
    """Return a value with grouped thousands if it is a large whole number."""
    return number(float(text), 0) if text.isdigit() and len(text) > 4 else text
