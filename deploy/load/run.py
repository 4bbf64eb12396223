"""Send an open-loop load to the demo service and record what became of it.

    python deploy/load/run.py --scenario burst --scale 0.1 --url http://localhost:8080 --output load
    python deploy/load/run.py --profile series.csv --url http://localhost:8080 --scale 0.2

Requests arrive as a Poisson process with the rate of the profile, whether or not earlier ones were answered.
The scenarios of the paper count users, who wait for their answers; here they become a rate, users over the
1.5 s of a user's cycle, and no longer wait. --output gets load.csv (per second: asked, sent, completed,
failed, response times), load_rate.csv (the rate sent, a trace that podgym reads) and load.json. A generator
too slow for the load says so, there and on standard error. SIGTERM ends the load early, with status 0.
"""

import argparse
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from arrivals import RateProfile, arrival_times, read_profile

_LONGEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    profile: Path | None
    scenario: str | None
    option: list[str]
    url: str | None
    endpoints: Path | None
    output: Path | None
    demand_s: float
    cv: float
    latency_s: float
    seed: int
    scale: float
    duration_s: float | None
    timeout_s: float
    keep_alive: bool


def parse_options(arguments: list[str] | None = None) -> Options:
    """Return what the command line says; ends the process with status 2 if that cannot be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--profile", type=Path, help="CSV with the columns time_s and rate_rps")
    source.add_argument("--scenario", help="a workload of podgym: burst, high_load, alibaba2018, a file ...")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE",
        help="option of the scenario, such as peak_rate_rps=300; may be repeated",
    )  # fmt: skip
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--url", help="address of the service")
    target.add_argument("--endpoints", type=Path, help="JSON list of addresses that take turns; may change")
    parser.add_argument("--output", type=Path, help="folder for the records; default: none are kept")
    parser.add_argument("--demand-s", type=float, default=0.0086, help="CPU time of a request, seconds")
    parser.add_argument("--cv", type=float, default=1.0, help="coefficient of variation of the CPU time")
    parser.add_argument(
        "--latency-s", type=float, default=0.0, help="part of the answer without CPU, seconds"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of scenario and arrivals")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all rates")
    parser.add_argument("--duration-s", type=float, help="length; default: all of it, of a trace an hour")
    parser.add_argument("--timeout-s", type=float, default=30.0, help="longest wait for an answer")
    parser.add_argument(
        "--keep-alive", action="store_true",
        help="keep connections; new pods behind a Service get no traffic from kept ones",
    )  # fmt: skip
    options = Options(**vars(parser.parse_args(arguments)))
    for name in ("demand_s", "cv", "latency_s", "scale"):
        if not 0.0 <= getattr(options, name) < float("inf"):
            parser.error(f"--{name.replace('_', '-')} must be a number of 0 or more")
    if options.timeout_s <= 0.0 or (options.duration_s is not None and options.duration_s <= 0.0):
        parser.error("--timeout-s and --duration-s must be above 0")
    if options.option and options.scenario is None:
        parser.error("--option belongs to --scenario")
    return options


def make_profile(options: Options) -> RateProfile:
    """Return the load that was asked for.

    Raises:
        ValueError: it cannot be had; podgym's errors are of this kind too.
    """
    profile = scenario_profile(options) if options.profile is None else read_profile(options.profile)
    if options.duration_s is not None:
        profile = profile.cut(options.duration_s)
    return profile.scaled(options.scale)


def scenario_profile(options: Options) -> RateProfile:
    """Sample a workload of podgym; users become the rate that they would cause without waiting."""
    import yaml

    from podgym.envs.workloads import USER_CYCLE_S, make_workload

    pairs = [text.partition("=") for text in options.option]
    workload = make_workload(
        str(options.scenario), **{name: yaml.safe_load(value) for name, _, value in pairs}
    )
    longest_s = min(workload.max_duration_s, _LONGEST_S)
    duration_s = longest_s if options.duration_s is None else min(options.duration_s, workload.max_duration_s)
    sampled = workload.sample(np.random.default_rng(options.seed), duration_s)
    if sampled.kind == "open":
        return RateProfile(sampled.times_s, sampled.values, sampled.label)
    label = f"{sampled.label}, users / {USER_CYCLE_S:g} s as an open rate"
    return RateProfile(sampled.times_s, sampled.values / USER_CYCLE_S, label)


def send(options: Options, profile: RateProfile) -> dict[str, Any]:
    """Send the load, write the records and return the summary."""
    # Locust patches sockets and threads when it is imported: late, so that nothing else is touched before.
    from locust.env import Environment
    from open_loop import OpenLoopUser, Plan

    due_s = arrival_times(profile, np.random.default_rng([options.seed, 1]))
    path = f"/work?cpu_s={options.demand_s:g}&cv={options.cv:g}&latency_s={options.latency_s:g}"
    plan = Plan(due_s, path, options.keep_alive, options.endpoints, options.timeout_s)
    OpenLoopUser.network_timeout = options.timeout_s
    environment = Environment(
        user_classes=[OpenLoopUser], host=options.url or "http://endpoints.invalid", catch_exceptions=False
    )
    environment.open_loop_plan = plan  # type: ignore[attr-defined]
    runner = environment.create_local_runner()
    _stop_on_signals(plan)
    runner.start(1, spawn_rate=1)
    runner.greenlet.join()
    about = {
        "load": profile.label,
        "duration_s": profile.duration_s,
        "expected_requests": float(profile.cumulative()[-1]),
        "settings": asdict(options),
    }
    if options.output is not None:
        plan.record.write(options.output, about)
    return plan.record.summary()


def _stop_on_signals(plan: Any) -> None:  # noqa: ANN401  (its class needs locust, see above)
    import gevent

    def stop() -> None:
        if plan.stop.is_set():  # the second time: do not wait for answers either
            sys.exit(1)
        plan.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = parse_options(arguments)
    try:
        profile = make_profile(options)
    except ValueError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    if options.duration_s is not None and profile.duration_s < options.duration_s:
        print(
            f"run.py: {profile.label} ends after {profile.duration_s:g} s, before the "
            f"{options.duration_s:g} s of --duration-s.",
            file=sys.stderr,
        )
    mean_rps = profile.cumulative()[-1] / profile.duration_s
    print(f"{profile.label}: {profile.duration_s:g} s, {mean_rps:.4g} requests/s on average", flush=True)
    summary = send(options, profile)
    times = summary["response_time"]
    print(
        f"asked {summary['asked']}, sent {summary['sent']}, completed {summary['completed']}, failed "
        f"{summary['failed']}; response time mean {times['mean_s']:.4g} s, p95 {times['p95_s']:.4g} s"
    )
    if summary["fell_behind"]:
        print(
            f"run.py: the generator fell behind: {summary['asked']} requests were due and {summary['sent']} "
            f"sent, one in a hundred {summary['lateness_p99_s']:.3g} s late or more. Lower --scale, or run "
            "it on a machine with a free core.",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
