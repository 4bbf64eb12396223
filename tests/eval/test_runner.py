"""Running controllers: paired loads, repeatable, whatever the number of processes."""

import numpy as np
import pytest

from podgym.envs.config import override
from podgym.envs.make import scenario_config
from podgym.errors import InputError
from podgym.eval.measures import measure
from podgym.eval.provisioning import capacity_rps, peak_replicas
from podgym.eval.runner import make_jobs, run_job, run_jobs

STEPS = 12


@pytest.fixture(scope="module")
def config():
    return override(scenario_config("high_load"), {"episode_s": STEPS * 15.0})


def same(first, second):
    return first.metadata == second.metadata and all(
        np.array_equal(values, second.columns[name], equal_nan=True) for name, values in first.columns.items()
    )


def test_jobs_count_seeds_up(config):
    jobs = make_jobs("x", config, "static", {"replicas": 3}, seed=5, episodes=3)
    assert [job.seed for job in jobs] == [5, 6, 7]


@pytest.mark.parametrize("bad", [{"seed": -1}, {"episodes": 0}])
def test_bad_counts(config, bad):
    with pytest.raises(InputError, match="must be"):
        make_jobs("x", config, "hpa", **bad)


def test_controllers_face_the_same_load(config):
    records = run_jobs(
        make_jobs("x", config, "hpa", episodes=2)
        + make_jobs("x", config, "static", {"replicas": 9}, episodes=2)
    )
    hashes = [record.metadata.profile_sha256 for record in records]
    assert hashes[:2] == hashes[2:]
    assert hashes[0] != hashes[1]
    np.testing.assert_array_equal(records[0].load, records[2].load)
    assert measure(records[0])["core_hours"] < measure(records[2])["core_hours"]
    assert records[2].columns["replicas_wanted"].tolist() == [[9.0]] * STEPS


def test_requests_are_conserved_over_the_episode(config):
    record = run_job(make_jobs("x", config, "hpa", seed=2)[0])
    flows = {name: values.sum() for name, values in record.columns.items()}
    ended = flows["completed"] + flows["rejected"] + flows["timed_out"] + flows["lost"]
    assert flows["arrived"] == pytest.approx(ended + record.columns["in_system"][-1, 0], rel=1e-9)
    assert record.duration_s == STEPS * 15.0
    assert record.num_steps == STEPS


def test_results_do_not_depend_on_the_number_of_processes(config):
    jobs = make_jobs("x", config, "hpa", episodes=2)
    done = []
    apart = run_jobs(jobs, processes=2, on_done=done.append)
    together = run_jobs(jobs, processes=1)
    assert all(same(*pair) for pair in zip(apart, together, strict=True))
    assert sorted(done) == [0, 1]


def test_error_in_another_process_is_the_same_error(config):
    jobs = make_jobs("x", config, "static", {"replicas": 99}, episodes=2)
    with pytest.raises(InputError, match="99"):
        run_jobs(jobs, processes=2)


def test_steps_are_reported(config):
    seen = []
    run_jobs(make_jobs("x", config, "hpa"), on_step=lambda job, steps: seen.append((job, steps)))
    assert seen[-1] == (0, STEPS)


def test_stamp_names_what_ran(config):
    metadata = run_job(make_jobs("podgym/X", config, "static", {"replicas": 3}, seed=4)[0]).metadata
    assert (metadata.environment, metadata.controller, metadata.seed) == ("podgym/X", "static", 4)
    assert metadata.controller_options == {"replicas": 3}
    assert {"podgym", "numpy", "numba", "gymnasium", "python"} <= set(metadata.versions)
    assert any(entry["name"] == "cluster.nodes.count" and entry["measured"] for entry in metadata.provenance)


def test_peak_replicas_meet_the_slo_and_one_fewer_does_not(config):
    """At the peak held for ever, by the simulator itself: the violations are about the 5 % allowed."""
    from podgym.envs.workloads.profile import LoadProfile

    rate = 500.0
    cluster = override(config.cluster, {"load": {"rate_noise_cv": 0.0}})
    needed = peak_replicas(cluster, LoadProfile(np.full(2, rate), 600.0, "open", 0.0, "flat"))[0]
    grid = {"level": (1.0, 1.0), "noise": (0.0, 0.0)}
    flat = override(
        scenario_config("trace"),
        {"cluster": cluster, "workload": "family:constant", "episode_s": 600.0,
         "workload_options": {"mean_rate_rps": rate, "grid": grid}},
    )  # fmt: skip
    flat = override(flat, {"cluster": {"services": {"web": {"initial_replicas": needed}}}})
    ratios = []
    for replicas in (needed, needed - 1):
        record = run_job(make_jobs("x", flat, "static", {"replicas": replicas})[0])
        late = {name: values[20:] for name, values in record.columns.items()}
        ratios.append(late["slo_violations"].sum() / late["completed"].sum())
    assert ratios[0] <= 0.05 < ratios[1]


def test_peak_of_closed_users_is_what_they_send_unhindered(config):
    from podgym.envs.workloads.profile import LoadProfile

    service = config.cluster.services[0].parameters
    users = LoadProfile(np.full(2, 800.0), 60.0, "closed", 0.0, "flat")
    rate = 800.0 / (config.cluster.load.think_time_s + service.base_latency_s)
    sent = LoadProfile(np.full(2, rate), 60.0, "open", 0.0, "flat")
    assert peak_replicas(config.cluster, users) == peak_replicas(config.cluster, sent)


def test_capacity_is_that_of_the_largest_fleet(config):
    service = config.cluster.services[0]
    most = service.max_replicas * service.cpu_request_cores * service.cpu_limit_ratio
    assert capacity_rps(config.cluster) == pytest.approx(most / service.parameters.cpu_demand_core_s)
    small = override(config.cluster, {"nodes": {"count": 1}})
    assert capacity_rps(small) == pytest.approx(4.0 / service.parameters.cpu_demand_core_s)
