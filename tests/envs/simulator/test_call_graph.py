"""Several services: who is called how often, how times add up, and how a slow callee holds its callers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.envs.config import override
from podgym.envs.scenarios import boutique
from podgym.envs.simulator.parameters import ClusterConfig
from podgym.envs.simulator.world import visits_per_request
from podgym.errors import InputError


def services(config: ClusterConfig, calls, *, entry=None, **changes):
    """Return ``config`` with one service per name in ``calls``; ``changes`` by name."""
    (web,) = config.services
    made = []
    for name, callees in calls.items():
        share = (entry or {next(iter(calls)): 1.0}).get(name, 0.0)
        change = {"parameters": {"name": name}, "entry_share": share, "calls": callees}
        made.append(override(override(web, change), changes.get(name, {})))
    return override(config, {"services": made})


DIAMOND = {"front": {"left": 2.0, "right": 0.5}, "left": {"store": 1.0}, "right": {"store": 3.0}, "store": {}}


def test_arrivals_are_visits_times_the_external_rate(quiet_config, lab):
    config = services(quiet_config(nodes={"count": 20}, web={"initial_replicas": 12}), DIAMOND)
    assert visits_per_request(config).tolist() == [1.0, 2.0, 0.5, 3.5]
    cluster = lab(config, 100.0)
    arrived = cluster.advance(120)["arrived"][-1]
    assert arrived == pytest.approx(100.0 * np.array([1.0, 2.0, 0.5, 3.5]), rel=1e-3)


@st.composite
def graphs(draw):
    """An acyclic graph in a random order of services."""
    count = draw(st.integers(2, 6))
    names = [f"s{index}" for index in range(count)]
    rank = draw(st.permutations(range(count)))
    calls = {name: {} for name in names}
    for caller in range(count):
        for callee in range(count):
            if rank[caller] < rank[callee] and draw(st.booleans()):
                calls[names[caller]][names[callee]] = draw(st.sampled_from([0.0, 0.25, 1.0, 1.5]))
    shares = {name: draw(st.sampled_from([0.0, 1.0, 2.0])) for name in names}
    shares[names[draw(st.integers(0, count - 1))]] += 1.0
    return calls, shares


@settings(max_examples=30)
@given(graphs())
def test_visits_solve_the_traffic_equations(quiet_config, graph):
    calls, shares = graph
    config = services(quiet_config(), calls, entry=shares)
    names = list(calls)
    matrix = np.array([[calls[caller].get(callee, 0.0) for callee in names] for caller in names])
    entering = np.array([shares[name] for name in names]) / sum(shares.values())
    expected = np.linalg.solve(np.eye(len(names)) - matrix.T, entering)
    assert visits_per_request(config) == pytest.approx(expected)


@settings(max_examples=8)
@given(graphs())
def test_the_cluster_follows_the_traffic_equations(quiet_config, lab, graph):
    calls, shares = graph
    base = quiet_config(nodes={"count": 40}, web={"initial_replicas": 20}, physics={"base_latency_s": 0.0})
    config = services(base, calls, entry=shares)
    cluster = lab(config, 40.0)
    reports = cluster.advance(200)
    assert reports["arrived"][-1] == pytest.approx(40.0 * visits_per_request(config), rel=5e-3, abs=1e-9)
    assert reports["completed"][-1] == pytest.approx(reports["arrived"][-1], rel=5e-3, abs=1e-9)
    # Until the queues are full, what was completed above arrives below, request by request.
    names = list(calls)
    matrix = np.array([[calls[caller].get(callee, 0.0) for callee in names] for caller in names])
    external = 40.0 * np.array([shares[name] for name in names]) / sum(shares.values())
    for report in reports[:5]:
        assert report["arrived"] == pytest.approx(external + report["completed"] @ matrix)


def test_external_load_is_shared_by_the_entries(quiet_config, lab):
    config = services(quiet_config(), {"a": {}, "b": {}, "c": {}}, entry={"a": 3.0, "b": 1.0})
    arrived = lab(config, 80.0).advance(5)["arrived"]
    assert arrived == pytest.approx(np.tile([60.0, 20.0, 0.0], (5, 1)))


def test_rejected_requests_make_no_calls(quiet_config, lab):
    config = services(quiet_config(), {"front": {"back": 1.0}, "back": {}},
                      front={"initial_replicas": 1, "parameters": {"queue_limit_per_pod": 5}})  # fmt: skip
    reports = lab(config, 200.0).advance(60)
    assert reports["rejected"][-1, 0] > 100.0
    assert reports["arrived"][-1, 1] == pytest.approx(reports["completed"][-1, 0])


def chain(quiet_config, *, concurrency=64, back_cores=0.5, load_noise=0.0):
    base = quiet_config(physics={"base_latency_s": 0.0, "memory_per_request_bytes": 0.0, "timeout_s": 1e4,
                                 "queue_limit_per_pod": 10**7})  # fmt: skip
    front = {
        "cpu_request_cores": 2.0,
        "initial_replicas": 1,
        "parameters": {"concurrency_per_pod": concurrency},
    }
    back = {"cpu_request_cores": back_cores, "initial_replicas": 1}
    return services(base, {"front": {"back": 1.0}, "back": {}}, front=front, back=back)


def test_a_slow_callee_holds_the_servers_of_its_caller(quiet_config, lab):
    # The caller alone could serve four times as many requests/s as the callee.
    load = np.full(600, 120.0)
    config = chain(quiet_config, concurrency=50)
    reports = lab(config, load).advance(500)
    completed, in_system = reports["completed"], reports["in_system"]
    bottleneck_rps = 0.5 / config.services[1].parameters.cpu_demand_core_s
    assert 0.9 * bottleneck_rps < completed[-200:, 0].mean() < bottleneck_rps
    # The queue forms where the slots are held, and the callee's no longer grows.
    assert in_system[-1, 0] > 25_000
    assert in_system[-200:, 1].max() == pytest.approx(in_system[100:300, 1].max(), rel=0.1)
    free = lab(chain(quiet_config, concurrency=50, back_cores=2.0), load).advance(500)
    assert free["completed"][-1] == pytest.approx(120.0, rel=1e-3)
    assert free["in_system"][-1].max() < 5.0


def test_more_concurrency_holds_a_caller_less(quiet_config, lab):
    load = np.full(200, 120.0)
    ends = [
        lab(chain(quiet_config, concurrency=concurrency), load).advance(100)["in_system"][50:].mean(axis=0)
        for concurrency in (20, 200, 2000, 10**6)
    ]
    front, back = np.array(ends).T
    assert (np.diff(front) < 0).all()
    assert (np.diff(back) > 0).all()
    assert front[-1] < 5.0  # never held


def test_no_more_calls_are_under_way_than_callers_have_slots(quiet_config, lab):
    reports = lab(chain(quiet_config, concurrency=50), np.full(600, 120.0)).advance(500)
    assert reports["in_system"][10:, 1].max() <= 50
    served = reports["completed"][200:, 0]
    assert served.std() < 0.01 * served.mean()


# Callers see a slow callee one tick late, so a coarse tick lets more calls in at first (docs/simulator.md).
@pytest.mark.parametrize(("tick_s", "most_calls"), [(0.1, 1.1 * 50), (1.0, 2.0 * 50)])
def test_an_overload_does_not_begin_with_many_more_calls_than_slots(quiet_config, lab, tick_s, most_calls):
    config = override(chain(quiet_config, concurrency=50), {"tick_s": tick_s})
    reports = lab(config, np.full(60, 120.0)).advance(20)
    assert reports["in_system"][:, 1].max() <= most_calls


def test_a_caller_recovers_once_the_load_is_below_its_slots_again(quiet_config, lab):
    # 4 pods of 64 slots hold each request for a second and a little: at most 256 requests/s.
    config = services(
        quiet_config(nodes={"count": 20}, control_interval_s=15.0),
        {"front": {"back": 1.0}, "back": {}},
        front={"initial_replicas": 4, "cpu_request_cores": 1.0},
        back={"initial_replicas": 12, "parameters": {"base_latency_s": 1.0}},
    )
    seconds = np.arange(600)
    reports = lab(config, np.where((seconds >= 120) & (seconds < 180), 260.0, 200.0)).advance(20)
    served_rps = reports["completed"][:, 0] / 15.0
    assert 240.0 < served_rps[9:12].max() < 256.0  # held by its callee
    assert served_rps[16:] == pytest.approx(np.full(4, 200.0), rel=1e-3)
    assert reports["in_system"][16:, 0].max() < 10.0


@pytest.mark.parametrize("users", [5.0, 60.0, 600.0])
def test_a_service_with_users_of_its_own_receives_every_call(quiet_config, lab, users):
    config = services(
        quiet_config(nodes={"count": 20}, web={"initial_replicas": 4}, load={"think_time_s": 0.2}),
        {"front": {"back": 8.0}, "back": {}},
        entry={"front": 1.0, "back": 1.0},
    )
    reports = lab(config, users, kind="closed").advance(120)
    calls = 8.0 * reports["completed"][:, 0]
    assert calls.sum() > 0.0
    assert (reports["arrived"][:, 1] >= calls * (1 - 1e-9)).all()
    left = [reports[name] for name in ("completed", "rejected", "timed_out", "lost")]
    gone = np.sum(left, axis=(0, 1)) + reports["in_system"][-1]
    assert reports["arrived"].sum(axis=0) == pytest.approx(gone)


def test_pressure_is_gone_once_the_callee_is_quick_again(quiet_config, lab):
    config = chain(quiet_config, concurrency=50)
    cluster = lab(config, np.full(2000, 100.0))
    cluster.advance(200)
    assert cluster.advance()["in_system"][0].sum() > 1000
    cluster.want(1, replicas=8)
    cluster.advance(400)
    end = cluster.advance()[0]
    assert end["in_system"].sum() < 20.0
    assert end["completed"] == pytest.approx(np.full(2, 100.0), rel=1e-3)


def test_closed_users_wait_for_the_whole_chain(quiet_config, lab):
    # Interactive response-time law: X = N / (Z + R), with R the sum over the calls.
    config = services(
        quiet_config(
            physics={"base_latency_s": 0.05}, load={"think_time_s": 1.0}, web={"initial_replicas": 6}
        ),
        {"front": {"back": 2.0}, "back": {}},
    )
    report = lab(config, 100.0, kind="closed").advance(300)[-1]
    visits = visits_per_request(config)
    response_s = (visits * report["response_time_mean_s"]).sum()
    assert report["completed"][0] == pytest.approx(100.0 / (1.0 + response_s), rel=0.02)


def test_the_boutique_enters_at_its_frontend_and_reaches_every_service():
    cluster = boutique().cluster
    visits = dict(
        zip([service.name for service in cluster.services], visits_per_request(cluster), strict=True)
    )
    assert len(visits) == 11
    assert visits["frontend"] == 1.0
    assert visits["productcatalog"] == pytest.approx(2.0 + 0.6 + 0.05 * 1.5)
    assert visits["redis-cart"] == pytest.approx(visits["cart"]) == pytest.approx(0.9 + 0.05 * 2.0)
    assert all(count > 0 for count in visits.values())


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ({"a": {"b": 1.0}, "b": {"a": 1.0}}, "cycle among a, b"),
        ({"a": {"a": 1.0}}, "cycle among a"),
        ({"cart": {"carts": 1.0}}, "Did you mean 'cart'"),
        ({"a": {"b": -1.0}, "b": {}}, "-1.0"),
        ({"a": {"b": float("nan")}, "b": {}}, "nan"),
    ],
)
def test_bad_call_graphs_are_refused(quiet_config, calls, message):
    with pytest.raises(InputError, match=message):
        services(quiet_config(), calls)
