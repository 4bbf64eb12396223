"""What a set of episodes of one controller amounts to, and the document that results are published as."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from podgym.envs.config import EnvConfig
from podgym.errors import InputError
from podgym.eval.charges import LIST_PRICES, PriceTable
from podgym.eval.episode import EpisodeRecord
from podgym.eval.measures import MEASURES, mean_and_spread, measure, measure_by_service, measures_at


@dataclass(frozen=True, slots=True)
class Summary:
    """Episodes of one controller on one environment: measures of each, their mean and spread."""

    group: str
    """Short name of the environment, for tables."""
    controller: str
    """Short name of the controller, for tables."""
    seeds: tuple[int, ...]
    """Seed of each episode."""
    profile_sha256: tuple[str, ...]
    """Hash of the load of each episode."""
    by_episode: tuple[Mapping[str, float], ...]
    """Measures of each episode."""
    mean: Mapping[str, float]
    """Mean over the episodes, by measure."""
    spread: Mapping[str, float]
    """Sample standard deviation over the episodes, by measure; 0 for one episode."""
    by_service: Mapping[str, Mapping[str, float]]
    """Mean over the episodes, by service and measure."""


def summarise(
    records: Sequence[EpisodeRecord],
    group: str = "",
    controller: str = "",
    prices: PriceTable = LIST_PRICES,
) -> Summary:
    """Return the summary of episodes of one controller.

    Args:
        records: the episodes.
        group: name of the environment for tables; default: as recorded.
        controller: name of the controller for tables; default: as recorded.
        prices: what money is counted at.

    Raises:
        InputError: no episode.
    """
    if not records:
        raise InputError("there is no episode to summarise.")
    by_episode = tuple(measure(record, prices) for record in records)
    services = [_by_service(record, whole, prices) for record, whole in zip(records, by_episode, strict=True)]
    statistics = {name: mean_and_spread(each[name] for each in by_episode) for name in by_episode[0]}
    return Summary(
        group=group or records[0].metadata.environment,
        controller=controller or records[0].metadata.controller,
        seeds=tuple(record.metadata.seed for record in records),
        profile_sha256=tuple(record.metadata.profile_sha256 for record in records),
        by_episode=by_episode,
        mean={name: mean for name, (mean, _) in statistics.items()},
        spread={name: spread for name, (_, spread) in statistics.items()},
        by_service={
            service: {name: mean_and_spread(each[service][name] for each in services)[0] for name in measures}
            for service, measures in services[0].items()
        },
    )


def _by_service(
    record: EpisodeRecord, whole: Mapping[str, float], prices: PriceTable
) -> dict[str, dict[str, float]]:
    """Measures by service; those of a single one are the measures of the episode, computed before."""
    if record.num_services > 1:
        return measure_by_service(record, prices)
    own = {each.name: whole[each.name] for each in MEASURES if each.by_service}
    return {record.metadata.service_names[0]: own}


def result_document(
    summaries: Sequence[Summary],
    records: Sequence[EpisodeRecord],
    configs: Mapping[str, EnvConfig],
    prices: PriceTable = LIST_PRICES,
) -> dict[str, Any]:
    """Return results as plain data with everything needed to judge and repeat them.

    Args:
        summaries: one per environment and controller.
        records: one episode of each summary, in the same order: for options, constants and versions.
        configs: configuration of each environment, by the summaries' ``group``.
        prices: what money was counted at in the summaries.
    """
    return {
        "format": "podgym.results/1",
        "versions": dict(records[0].metadata.versions),
        "measures": {
            each.name: {"unit": each.unit, "better": each.better, "definition": each.definition}
            for each in measures_at(prices)
        },
        "environments": {
            name: {"configuration": asdict(config), "constants": _constants(name, summaries, records)}
            for name, config in configs.items()
        },
        "results": [
            {
                "environment": summary.group,
                "workload": record.metadata.workload,
                "load": record.metadata.profile_label,
                "controller": record.metadata.controller,
                "controller_options": dict(record.metadata.controller_options),
                "slo_response_time_s": dict(
                    zip(record.metadata.service_names, record.metadata.slo_response_time_s, strict=True)
                ),
                "duration_s": record.duration_s,
                "mean": dict(summary.mean),
                "standard_deviation": dict(summary.spread),
                "by_service": {name: dict(each) for name, each in summary.by_service.items()},
                "episodes": [
                    {"seed": seed, "profile_sha256": sha256, "measures": dict(measures)}
                    for seed, sha256, measures in zip(
                        summary.seeds, summary.profile_sha256, summary.by_episode, strict=True
                    )
                ],
            }
            for summary, record in zip(summaries, records, strict=True)
        ],
    }


def _constants(
    group: str, summaries: Sequence[Summary], records: Sequence[EpisodeRecord]
) -> list[Mapping[str, Any]]:
    of_group = (record for summary, record in zip(summaries, records, strict=True) if summary.group == group)
    return list(next(of_group).metadata.provenance)
