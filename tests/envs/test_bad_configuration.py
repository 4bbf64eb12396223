"""A bad configuration is refused in one clear line: what was got, what is allowed, the closest match."""

import math

import gymnasium as gym
import pytest

from podgym.envs import AutoscaleEnv, AutoscaleVectorEnv, EnvConfig
from podgym.errors import InputError

NAN, INF = math.nan, math.inf
ID = "podgym/Burst-v0"


def web(**fields):
    return {"cluster": {"services": {"web": fields}}}


def physics(**fields):
    return web(parameters=fields)


def nodes(**fields):
    return {"cluster": {"nodes": fields}}


def monitoring(**fields):
    return {"cluster": {"monitoring": fields}}


def failures(*entries):
    return {"cluster": {"faults": {"node_failures": list(entries)}}}


def assert_one_line(error, *words):
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"clutser": {}}, "cluster"),
        ({"cluster": {"nodse": {}}}, "nodes"),
        (nodes(conut=3), "count"),
        ({"cluster.nodes.conut": 3}, "count"),
        (web(max_replica=3), "max_replicas"),
        (physics(cpu_demand_cores=1.0), "cpu_demand_core_s"),
        ({"cluster": {"services": {"wbe": {}}}}, "web"),
        ({"action": {"mod": "delta"}}, "mode"),
        ({"action": {"mode": "delt"}}, "delta"),
        ({"observation": {"lag": 3}}, "lags"),
        ({"observation": {"forecast": "orcale"}}, "oracle"),
        ({"reward": {"weights": {"cpu_cots": 1.0}}}, "cpu_cost"),
        ({"reward": {"preset": "papr"}}, "paper"),
        (physics(discipline="fcsf"), "fcfs"),
        (physics(resize="in-place"), "in_place"),
        (physics(load_balancing="pool"), "pooled"),
        (nodes(scoring="least_alocated"), "least_allocated"),
        ({"workload_options": {"ofset_s": 1.0}}, "offset_s"),
        ({"render_mode": "rgb_aray"}, "rgb_array"),
        (failures({"time_s": 1.0, "node": 0, "duration": 5.0}), "duration_s"),
        ({"workload": "brust"}, "burst"),
    ],
)  # fmt: skip
def test_a_misspelt_name_is_refused_with_the_closest_match(changes, near):
    with pytest.raises(InputError) as error:
        gym.make(ID, **changes)
    assert_one_line(error, f"Did you mean '{near}'?", "allowed:")


def test_the_place_of_an_unknown_key_reads_well():
    with pytest.raises(InputError, match=r"^unknown key of cluster 'nodse'"):
        gym.make(ID, cluster={"nodse": {}})


@pytest.mark.parametrize("vector", [False, True])
def test_a_workload_can_be_named(vector):
    make = gym.make_vec if vector else gym.make
    env = make("podgym/Trace-v0", workload="family:flash", workload_options={})
    env.reset(seed=0)
    assert env.unwrapped.config.workload == "family:flash"


def test_a_workload_brings_its_own_options():
    named = gym.make("podgym/Trace-v0", workload="family:flash").unwrapped.config
    assert named.workload_options == {}
    both = gym.make("podgym/Trace-v0", workload="family:flash", workload_options={"mean_rate_rps": 90.0})
    assert both.unwrapped.config.workload_options == {"mean_rate_rps": 90.0}
    alone = gym.make("podgym/Trace-v0", workload_options={"peak_rate_rps": 500.0}).unwrapped.config
    assert alone.workload_options == {"part": "train", "peak_rate_rps": 500.0}


def test_dotted_names_reach_into_services():
    env = gym.make(ID, **{"cluster.services.web.max_replicas": 9})
    assert env.unwrapped.config.cluster.services[0].max_replicas == 9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (physics(cpu_demand_core_s=-1.0), ("cpu_demand_core_s", "-1.0")),
        (physics(cpu_demand_core_s=NAN), ("cpu_demand_core_s", "nan")),
        (physics(cpu_demand_core_s=True), ("cpu_demand_core_s", "True")),
        (physics(cpu_demand_core_s="1"), ("cpu_demand_core_s", "'1'")),
        (physics(demand_cv=-0.1), ("demand_cv", "-0.1")),
        (physics(start_failure_probability=1.5), ("start_failure_probability", "between 0 and 1")),
        (physics(max_surge=0.0, max_unavailable=0.0), ("max_surge", "max_unavailable")),
        (web(min_replicas=0), ("min_replicas", "1 <=", "0")),
        (web(initial_replicas=0), ("initial_replicas", "0")),
        (web(max_replicas=-3), ("max_replicas", "-3")),
        (web(initial_replicas=99), ("initial_replicas", "99", "28")),
        (web(initial_replicas=3.0), ("initial_replicas", "3.0", "whole number")),
        (web(cpu_request_cores=NAN), ("cpu_request_cores", "nan")),
        (web(cpu_limit_ratio=0.5), ("cpu_limit_ratio", "0.5", "between 1 and")),
        (web(cpu_levels_cores=[]), ("cpu_levels_cores", "ascending")),
        (web(cpu_levels_cores=[1.0, 0.5]), ("cpu_levels_cores", "ascending")),
        (web(entry_share=-1.0), ("entry_share", "-1.0")),
        (web(entry_share=0.0), ("entry_share",)),
        (web(calls={"web": 1.0}), ("cycle", "web")),
        (web(calls=3), ("calls", "3", "mapping")),
        (nodes(count=0), ("count", "0")),
        (nodes(cpu_cores=NAN), ("cpu_cores", "nan")),
        (nodes(images_cached="yes"), ("images_cached", "'yes'", "true or false")),
        ({"cluster": {"nodes": 5}}, ("cluster.nodes", "5", "mapping")),
        ({"cluster": {"load": {"rate_noise_cv": -1.0}}}, ("rate_noise_cv", "-1")),
        ({"cluster": {"load": {"rate_noise_period_s": 0.0}}}, ("rate_noise_period_s", "0.0")),
        (monitoring(window_s=1e5), ("window", "100000")),
        (monitoring(sample_loss_probability=1.0), ("sample_loss_probability", "0.99")),
        ({"cluster": {"control_interval_s": 2.5}}, ("control_interval_s", "2.5", "whole number of ticks")),
        ({"cluster": {"tick_s": 0.0}}, ("tick_s", "0.0")),
        ({"cluster": {"services": []}}, ("services", "[]")),
        (failures({"time_s": 1.0, "node": 9}), ("node 9", "0 to 3")),
        (failures({"time_s": -1.0, "node": 0}), ("time_s", "-1.0")),
        ({"cluster": {"faults": {"node_failures_per_hour": NAN}}}, ("node_failures_per_hour", "nan")),
        ({"episode_s": 1.0}, ("episode_s", "1.0", "15 s")),
        ({"episode_s": NAN}, ("episode_s", "nan")),
        ({"episode_s": 1e8}, ("1e+08", "900 s", "episode_s")),
        ({"action": {"replica_steps": [1, 2]}}, ("replica_steps", "(1, 2)", "contain 0")),
        ({"action": {"replica_steps": [0, 2, 1]}}, ("replica_steps", "ascend")),
        ({"action": {"max_increase": 0}}, ("max_increase", "0")),
        ({"action": {"max_decrease": 1.5}}, ("max_decrease", "1.5", "whole number")),
        ({"action": {"quotas": 1}}, ("quotas", "1", "true or false")),
        ({"observation": {"lags": 0}}, ("lags", "0", "240")),
        ({"observation": {"lags": 2.0}}, ("lags", "2.0", "whole number")),
        ({"observation": {"horizon_minutes": 61}}, ("horizon_minutes", "61", "60")),
        ({"observation": {"forecast_sigma": NAN}}, ("forecast_sigma", "nan")),
        ({"reward": {"weights": {"churn": NAN}}}, ("churn", "nan", "finite")),
        ({"reward": {"weights": {"churn": INF}}}, ("churn", "inf", "finite")),
        ({"reward": {"weights": {"churn": "1"}}}, ("churn", "'1'")),
        ({"reward": {"relative_to_plan": "yes"}}, ("relative_to_plan", "'yes'")),
        ({"workload_options": None}, ("workload_options", "None")),
        ({"workload_options": {"offset_s": NAN}}, ("offset_s", "nan")),
        (physics(cpu_demand_core_s=INF), ("cpu_demand_core_s", "inf")),
        (physics(base_latency_s=INF), ("base_latency_s", "inf")),
        (physics(base_memory_bytes=INF), ("base_memory_bytes", "inf")),
        (physics(memory_per_request_bytes=INF), ("memory_per_request_bytes", "inf")),
        (physics(idle_cpu_cores=INF), ("idle_cpu_cores", "inf")),
        (web(cpu_request_cores=INF), ("cpu_request_cores", "inf")),
        (web(cpu_limit_ratio=INF), ("cpu_limit_ratio", "inf")),
        (web(entry_share=INF), ("entry_share", "inf")),
        (web(cpu_levels_cores=[0.5, NAN]), ("cpu_levels_cores", "nan")),
        (web(memory_levels_bytes=[1e9, INF]), ("memory_levels_bytes", "inf")),
        (nodes(cpu_cores=INF), ("cpu_cores", "inf")),
        ({"cluster": {"control_interval_s": INF}}, ("control_interval_s", "inf")),
        (monitoring(scrape_interval_s=INF), ("scrape_interval_s", "inf")),
        (nodes(count=4.5), ("count", "4.5")),
        (nodes(max_pods=2.5), ("max_pods", "2.5")),
        (web(cpu_levels_cores=["a"]), ("cpu_levels_cores", "'a'")),
        (web(cpu_levels_cores=5), ("cpu_levels_cores", "5")),
        (web(calls={"x": "1"}), ("calls", "'1'")),
        ({"cluster": {"services": 5}}, ("services", "5")),
        ({"cluster": {"services": ["web"]}}, ("services", "web")),
        (failures({"time_s": 1.0}), ("node", "needs time_s and node")),
        (failures({"time": 1.0, "node": 0}), ("'time'", "needs time_s and node")),
        (failures(5), ("node_failures", "5")),
        (failures({"time_s": 1.0, "node": 1.5}), ("node", "1.5")),
        ({"episode_s": "60"}, ("episode_s", "'60'")),
        ({"action": {"replica_steps": 5}}, ("replica_steps", "5")),
        ({"action": {"replica_steps": ["a", 0]}}, ("replica_steps", "'a'")),
        ({"action": {"replica_steps": [0, 1.5]}}, ("replica_steps", "1.5")),
        ({"observation": {"forecast_sigma": "a"}}, ("forecast_sigma", "'a'")),
        ({"config": 5}, ("config", "5")),
        ({"planner": 5}, ("planner", "5")),
        ({"workload": 5}, ("workload", "5")),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_name_and_what_was_got(changes, words):
    with pytest.raises(InputError) as error:
        gym.make(ID, **changes)
    assert_one_line(error, *words)


def test_an_unknown_id_or_scenario_is_refused_with_the_closest_match():
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `Burst`"):
        gym.make("podgym/Brust-v0")
    with pytest.raises(gym.error.VersionNotFound, match="v0"):
        gym.make("podgym/Burst-v7")
    with pytest.raises(InputError, match="Did you mean 'burst'"):
        gym.make(ID, scenario="brust")


def test_an_episode_longer_than_its_trace_is_refused():
    with pytest.raises(InputError) as error:
        gym.make("podgym/Trace-v0", episode_s=6e5)
    assert_one_line(error, "600000 s", "longer than", "episode_s")


def test_a_wrong_part_of_a_trace_is_refused():
    with pytest.raises(InputError) as error:
        gym.make("podgym/Trace-v0", workload_options={"part": "tset"})
    assert_one_line(error, "'tset'", "Did you mean 'test'?")


@pytest.mark.parametrize(
    ("workload", "words"),
    [("brust", ("'brust'", "Did you mean 'burst'?")), ("/no/where.csv", ("/no/where.csv",))],
)
def test_an_unknown_workload_or_missing_file_is_refused(workload, words):
    with pytest.raises(InputError) as error:
        AutoscaleEnv(EnvConfig(workload=workload))
    assert_one_line(error, *words)


@pytest.mark.parametrize("count", [0, -1, 1.5, "two", True, None])
def test_a_bad_number_of_environments_is_refused(count):
    with pytest.raises(InputError) as error:
        AutoscaleVectorEnv(count)
    assert_one_line(error, "num_envs", repr(count))


@pytest.mark.parametrize("steps", [0, -1, 1.5, "two"])
def test_a_bad_time_limit_is_refused(steps):
    with pytest.raises(InputError) as error:
        AutoscaleVectorEnv(1, max_episode_steps=steps)
    assert_one_line(error, "max_episode_steps", repr(steps))


def test_a_bad_autoreset_mode_is_refused():
    with pytest.raises(InputError, match="Did you mean 'NextStep'"):
        AutoscaleVectorEnv(1, autoreset_mode="NextSetp")


def test_a_render_mode_of_the_vector_env_is_refused():
    with pytest.raises(InputError, match="render"):
        AutoscaleVectorEnv(1, render_mode="rgb_array")
