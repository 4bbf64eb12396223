from collections.abc import Callable

import pytest

from podgym.baselines.hpa import Container, Pod, ResourceSample


@pytest.fixture
def make_pods() -> Callable[..., tuple[Pod, ...]]:
    """Old running ready pods ``p0``, ``p1``, ... with one container; keywords change all of them."""

    def make(count: int, request_milli: int = 1000, first: int = 0, **fields: object) -> tuple[Pod, ...]:
        settled = {
            "start_time_s": -1000.0,
            "ready_transition_time_s": -900.0,
            "containers": (Container("app", {"cpu": request_milli, "memory": request_milli}),),
        }
        return tuple(Pod(f"p{index}", **{**settled, **fields}) for index in range(first, first + count))

    return make


@pytest.fixture
def make_samples() -> Callable[..., tuple[ResourceSample, ...]]:
    """Samples of ``p0``, ``p1``, ... taken just now over 60 s, one usage each."""

    def make(*usage_milli: int) -> tuple[ResourceSample, ...]:
        return tuple(
            ResourceSample(f"p{index}", 0.0, 60.0, {"app": milli}) for index, milli in enumerate(usage_milli)
        )

    return make
