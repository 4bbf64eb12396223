"""The part of ``podgym bench`` that measures training."""

import argparse
import datetime
from collections.abc import Callable
from dataclasses import asdict

DEFAULT_ENVIRONMENT = "podgym/Trace-v0"


def run_training_bench(args: argparse.Namespace, progress: Callable[[int], Callable[[], None]]) -> int:
    """Measure training with the shipped settings and print one line, the yardstick below it.

    Raises:
        InputError: an unknown id, or a number that cannot be used.
    """
    from podgym.errors import require_whole
    from podgym.eval.bench_machine import this_machine
    from podgym.files import to_json
    from podgym.train.throughput import YARDSTICK, measure_training

    require_whole("--repeats", args.repeats, 1, 1000)
    speed = measure_training(
        args.env or DEFAULT_ENVIRONMENT,
        num_envs=args.num_envs,
        repeats=args.repeats,
        on_round=progress(1 + args.repeats),
    )
    machine, date = this_machine(), datetime.date.today().isoformat()
    if args.json:
        content = {"date": date, "machine": asdict(machine), "training": asdict(speed)}
        print(to_json({**content, "times_yardstick": speed.times_yardstick}))
        return 0
    print(
        f"{date}, {machine.cpu}, 1 of {machine.cores} cores used, load average {machine.load_average:.1f}\n"
    )
    print(f"{'trained with':<34} {'envs':>6} {'frames/s':>10} {'environment':>12}")
    row = f"{speed.algorithm} on {speed.environment}, batch {speed.batch_size}"
    share = f"{100 * speed.environment_share:.1f} %"
    print(f"{row:<34} {speed.num_envs:>6,} {speed.frames_per_s:>10,.0f} {share:>12}")
    print(f"{f'SB3 PPO on {YARDSTICK}, defaults':<34} {1:>6} {speed.yardstick_frames_per_s:>10,.0f}")
    print(f"\n{speed.times_yardstick:.1f} times the yardstick. CPU time of one thread, best round of")
    print(f"{args.repeats}, rollout and update; environment: share of it in which environments are stepped.")
    return 0
