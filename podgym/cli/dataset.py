"""``podgym dataset``: record what a controller or a policy does as a dataset for offline learning."""

import argparse
import hashlib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.cli.settings import Target
    from podgym.envs.env import AutoscaleEnv
    from podgym.eval.datasets import Source
    from podgym.eval.transitions import Decider, Transitions

NAME = "dataset"
HELP = "record a controller or a policy as an offline dataset of transitions, in Minari's format"

_EPILOG = """\
examples:
  a hundred episodes of the tuned HPA on bursts, as podgym/FamilyBurst/hpa-v0 in Minari's own folder:
    podgym dataset --env podgym/FamilyBurst-v0 --controller hpa --tuned --episodes 100

  the policy that comes with the package, in a folder and under a name of one's own:
    podgym dataset --env podgym/Burst-v0 --agent pretrained --episodes 50 \\
        --output datasets --name mine/burst-expert-v0

  noise: random actions, and a controller of one's own, replicas only:
    podgym dataset --env podgym/Burst-v0 --controller random --episodes 50
    podgym dataset --env podgym/Burst-v0 --controller mine.py:Mine --episodes 50 --set action.quotas=false

  use it, in Python (MINARI_DATASETS_PATH=datasets, or Minari's own folder):
    dataset = minari.load_dataset("mine/burst-expert-v0")
    episode = dataset[0]       # observations (T+1, n), actions (T, k), rewards, truncations, infos
    env = dataset.recover_environment()

  the very environment, with forecaster and planner behind the observation:
    podgym.eval.datasets.dataset_environment(dataset)

The recorded action is one of the environment's own, and it is what was applied: the decision of a controller
is brought to the nearest action first, so episodes may differ a little from `podgym evaluate`. Finer actions:
--set action.mode=absolute, --set action.quota_steps=[-5,-2,-1,0,1,2,5]. Rewards are those of the environment;
infos keep every term, so that others can be computed. Episodes are truncated at their time limit, never
terminated: bootstrap there. Metadata: options, seeds, hashes of loads, configuration, constants, versions.

Learn from the train part; episodes with seeds from 200000, or of part test, are for results.
Exit status: 0, or 2 for bad input, in which case nothing is written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    what = parser.add_argument_group("what to record")
    what.add_argument("--env", metavar="ID", required=True, help="an environment; `podgym envs` lists them")
    who = what.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--controller", metavar="NAME[:OPTION=VALUE,...]",
        help="a controller with its options (`podgym evaluate --list`), or FILE.py:CLASS",
    )  # fmt: skip
    who.add_argument(
        "--agent", metavar="FILE|pretrained",
        help="a policy: a file of `podgym train` or `podgym export`, or the one that comes with the package",
    )  # fmt: skip
    what.add_argument(
        "--tuned",
        action="store_true",
        help="give the controller the tuned options that come with the package",
    )
    what.add_argument("--episodes", metavar="N", type=int, default=1, help="how many (default: 1)")
    what.add_argument(
        "--seed",
        metavar="S",
        type=int,
        default=0,
        help="seed of the first episode (default: 0)",
    )
    what.add_argument("--part", metavar="PART", help="part of the load: train (default), dev or test")
    what.add_argument(
        "--forecaster", metavar="FILE",
        help="forecaster behind the observation and the plans, as in `podgym evaluate`",
    )  # fmt: skip
    what.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="changes",
        help="change the configuration, for example action.quotas=false; may be repeated",
    )  # fmt: skip
    out = parser.add_argument_group("output")
    out.add_argument(
        "--output", metavar="DIR",
        help="folder of all datasets (default: $MINARI_DATASETS_PATH, or ~/.minari/datasets)",
    )  # fmt: skip
    out.add_argument(
        "--name", metavar="NAMESPACE/NAME-vN", help="name of the dataset (default: podgym/ENV/WHO-v0)"
    )
    out.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Record the episodes and write the dataset.

    Raises:
        InputError: anything about the arguments, a dataset that is there already, or Minari is not installed.
    """
    from podgym.cli.progress import counting
    from podgym.cli.settings import make_target
    from podgym.eval import datasets
    from podgym.files import to_json

    datasets.require_minari()
    if args.episodes < 1 or args.seed < 0:
        raise InputError("--episodes must be 1 or more, and --seed 0 or more.")
    root = datasets.datasets_root(args.output)
    target = make_target(environment=args.env, part=args.part, changes=args.changes)
    env, decider, source = _cast(args, target)
    name = datasets.check_name(args.name or _default_name(args.env, source), root)
    seeds = range(args.seed, args.seed + args.episodes)
    with counting(f"{source.decided_by} on {args.env}") as report:
        folder = datasets.write_dataset(root, name, source, _recorded(env, decider, seeds, report))
    dataset = datasets.load_dataset(root, name)
    entry = dataset.storage.metadata[datasets.KEY]
    if args.json:
        facts = {"name": name, "folder": str(folder), "episodes": dataset.total_episodes,
                 "steps": dataset.total_steps, **entry}  # fmt: skip
        print(to_json(facts))
        return 0
    print(f"{name}: {dataset.total_episodes} episodes, {dataset.total_steps:,} transitions, mean return "
          f"{entry['mean_return']:,.1f}")  # fmt: skip
    for remark in source.remarks:
        print(remark)
    print(f"wrote {folder}")
    print(f'load it: MINARI_DATASETS_PATH={shlex.quote(str(root))}, minari.load_dataset("{name}")')
    return 0


def _recorded(
    env: "AutoscaleEnv", decider: "Decider", seeds: range, report: Callable[[int, int, str], None]
) -> "Iterator[Transitions]":
    from podgym.eval.transitions import record_transitions

    for done, seed in enumerate(seeds):
        report(done, len(seeds), f"{done} episodes")
        yield record_transitions(env, decider, seed)
    report(len(seeds), len(seeds), f"{len(seeds)} episodes")


def _cast(args: argparse.Namespace, target: "Target") -> "tuple[AutoscaleEnv, Decider, Source]":
    """Return the environment, who decides in it, and what to say of both."""
    return _controller(args, target) if args.agent is None else _policy(args, target)


def _controller(args: argparse.Namespace, target: "Target") -> "tuple[AutoscaleEnv, Decider, Source]":
    from podgym.agents.description import PlannerSpec
    from podgym.baselines import PlanningController, make_controller
    from podgym.baselines.own import is_own, own_file, own_label
    from podgym.eval.contenders import parse_contenders
    from podgym.eval.datasets import Source
    from podgym.eval.forecast_choice import default_forecaster, forecaster_file
    from podgym.eval.runner import make_environment

    (contender,) = parse_contenders([args.controller])
    name, workload = contender.controller, target.config.workload
    options = _tuned(name, args.env, contender.options) if args.tuned else dict(contender.options)
    controller = make_controller(name, **options)
    chosen = args.forecaster or default_forecaster([name], workload)
    file = forecaster_file(chosen, workload)
    env = make_environment(target.config, controller, file)
    facts: dict[str, Any] = {"controller": name, "options": options}
    if is_own(name):
        facts["sha256"] = _sha256(own_file(name))
    source = Source(
        environment=args.env,
        config=env.config,
        decided_by=own_label(name) if is_own(name) else name,
        facts=facts,
        planner=PlannerSpec(name, options) if isinstance(controller, PlanningController) else None,
        forecaster=chosen,
        forecast_shown=file is not None,
        command=_command(args),
        remarks=_remarks(args, env),
    )
    return env, controller, source


def _policy(args: argparse.Namespace, target: "Target") -> "tuple[AutoscaleEnv, Decider, Source]":
    from podgym.agents.running import load_actor, surroundings
    from podgym.agents.shipped import PRETRAINED, shipped_policy
    from podgym.envs.env import AutoscaleEnv
    from podgym.eval.datasets import Source
    from podgym.forecasters.choice import NAIVE

    if args.tuned:
        raise InputError("--tuned goes with --controller; a policy has no options.")
    file = shipped_policy(args.env) if args.agent == PRETRAINED else Path(args.agent)
    policy = load_actor(file)
    around = surroundings(policy, config=target.config, forecaster=args.forecaster)
    env = AutoscaleEnv(around.config, planner=around.planner, forecaster=around.forecaster)
    description = policy.description
    source = Source(
        environment=args.env,
        config=env.config,
        decided_by=description.algorithm,
        facts={"policy": file.name, "sha256": _sha256(file), "trained_in": description.environment},
        planner=description.planner,
        forecaster=args.forecaster or description.forecaster or NAIVE,
        forecast_shown=around.forecaster is not None,
        command=_command(args),
        remarks=_remarks(args, env),
    )
    return env, policy, source


def _tuned(name: str, environment: str, given: Mapping[str, Any]) -> dict[str, Any]:
    from podgym.baselines.tuned import tuned_options

    if given:
        raise InputError("give options of the controller, or --tuned, not both.")
    options = tuned_options(name, environment)
    if options is None:
        raise InputError(
            f"no tuned options of {name} for {environment} come with the package; tune it: podgym tune "
            f"{name} --env {environment} --budget N."
        )
    return options


def _remarks(args: argparse.Namespace, env: "AutoscaleEnv") -> tuple[str, ...]:
    """Warn of episodes that nothing may learn from."""
    from podgym.envs.core import open_workload
    from podgym.envs.splits import TEST_SEEDS

    part = getattr(open_workload(env.config), "part", None)
    last = args.seed + args.episodes - 1
    if part != "test" and args.seed not in TEST_SEEDS and last not in TEST_SEEDS:
        return ()
    return ("These are test episodes: whoever learns from them must not be judged on them.",)


def _command(args: argparse.Namespace) -> str:
    words = ["podgym", NAME, "--env", args.env]
    for option in ("controller", "agent", "part", "forecaster", "name"):
        value = getattr(args, option)
        words += [] if value is None else [f"--{option}", value]
    words += ["--tuned"] if args.tuned else []
    words += ["--episodes", str(args.episodes), "--seed", str(args.seed)]
    for change in args.changes:
        words += ["--set", change]
    return shlex.join(words)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _default_name(environment: str, source: "Source") -> str:
    where, who = (
        re.sub(r"\W+", "-", each).strip("-")
        for each in (re.sub(r"^.*/|-v\d+$", "", environment), source.decided_by)
    )
    return f"podgym/{where}/{who}-v0"
