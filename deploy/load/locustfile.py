"""For those who know locust: the same open-loop load in locust's own runner, with its statistics and page.

    locust -f deploy/load/locustfile.py --headless -H http://localhost:8080 --load-profile load.csv

``run.py`` beside this file does the same with less, and records second by second.
"""

from pathlib import Path
from typing import Any

import numpy as np
from arrivals import arrival_times, read_profile
from locust import events
from open_loop import OpenLoopUser, Plan

__all__ = ["OpenLoopUser"]


@events.init_command_line_parser.add_listener
def add_arguments(parser: Any) -> None:  # noqa: ANN401  (locust's parser)
    """Add what the load is made of."""
    group = parser.add_argument_group("open-loop load")
    group.add_argument("--load-profile", help="CSV with time_s and rate_rps", required=True)
    group.add_argument("--load-scale", type=float, default=1.0, help="factor of all rates")
    group.add_argument("--load-seed", type=int, default=0, help="seed of the arrivals")
    group.add_argument("--demand-s", type=float, default=0.0086, help="CPU time of a request, seconds")


@events.init.add_listener
def make_plan(environment: Any, **_: object) -> None:  # noqa: ANN401  (locust's environment)
    """Draw the arrivals."""
    options = environment.parsed_options
    profile = read_profile(Path(options.load_profile)).scaled(options.load_scale)
    due_s = arrival_times(profile, np.random.default_rng(options.load_seed))
    environment.open_loop_plan = Plan(due_s, f"/work?cpu_s={options.demand_s:g}", False, None, 30.0)
