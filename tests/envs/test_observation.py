"""Every number of the observation is what its name says, and no forecast knows more than its mode allows."""

import math

import numpy as np
import pytest

KEEP = [7, 1, 1]  # of the default action: no step, both quotas kept
MIB = 1024.0**2
HISTORY = (
    "cpu_utilisation",
    "memory_utilisation",
    "request_rate",
    "response_time",
    "error_ratio",
    "in_flight",
    "replicas_wanted",
    "replicas_ready",
)


def most_rps(service):
    """Request rate that a service can serve with all the pods it may have."""
    return service.replicas_scale * service.quota.cpu_limit_cores / service.parameters.cpu_demand_core_s


def expected_history(service, view):
    """Value and upper bound of each monitored feature at one moment; what is not known is left out."""
    values = {
        "request_rate": (view.request_rate_rps / most_rps(service), 4.0),
        "response_time": (view.response_time_s / service.slo_response_time_s, 10.0),
        "error_ratio": (view.error_ratio, 1.0),
        "in_flight": (math.log1p(view.in_flight) / 10, 2.0),
        "replicas_wanted": (view.replicas_wanted / service.replicas_scale, 1.0),
        "replicas_ready": (view.replicas_ready / service.replicas_scale, 2.0),
    }
    sampled = [pod.sample for pod in view.pods if pod.ready and pod.sample]
    if sampled:
        values["cpu_utilisation"] = (sampled[0].cpu_usage_cores / view.quota.cpu_request_cores, 4.0)
        values["memory_utilisation"] = (sampled[0].memory_usage_bytes / view.quota.memory_request_bytes, 4.0)
    return {name: 0.0 if math.isnan(value) else min(value, high) for name, (value, high) in values.items()}


def expected_present(service, view, plan, age_intervals):
    cpu_top, memory_top = service.cpu_levels_cores[-1], service.memory_levels_bytes[-1]
    return {
        "cpu_request": view.quota.cpu_request_cores / cpu_top,
        "memory_request": view.quota.memory_request_bytes / memory_top,
        "replicas_pending": sum(pod.start_time_s is None for pod in view.pods) / service.replicas_scale,
        "sample_age": min(age_intervals, 10.0),
        "plan_replicas": plan[0] / service.replicas_scale,
        "plan_cpu_request": plan[1] / cpu_top,
        "plan_memory_request": plan[2] / memory_top,
        "plan_step": (plan[0] - view.replicas_wanted) / service.replicas_scale,
    }


def expected_observation(env, views, plan, future_rps):
    """The observation worked out slowly from what a controller sees."""
    expected = {}
    now = views[-1]
    for index, service in enumerate(env.config.cluster.services):
        for lag in range(env.config.observation.lags):
            if lag < len(views):
                known = expected_history(service, views[-1 - lag].services[index])
            else:
                known = dict.fromkeys(HISTORY, 0.0)  # before the episode
            expected |= {f"{service.name}.{name}[-{lag}]": value for name, value in known.items()}
        view = now.services[index]
        age = math.inf if view.sample_time_s is None else (now.time_s - view.sample_time_s) / 15.0
        present = expected_present(service, view, plan, age)
        expected |= {f"{service.name}.{name}": value for name, value in present.items()}
        for minute, rate in enumerate(future_rps, start=1):
            for part in ("mean", "lower", "upper"):
                value = min(rate * env.visits[index] / most_rps(service), 4.0)
                expected[f"{service.name}.forecast_{part}[+{minute}min]"] = value
    clock = env.profile.start_time_s + now.time_s
    for name, period in (("day", 86400.0), ("week", 604800.0)):
        expected[f"{name}_sin"] = math.sin(2 * math.pi * clock / period)
        expected[f"{name}_cos"] = math.cos(2 * math.pi * clock / period)
    return expected


@pytest.mark.parametrize("case", ["one service", "two services", "another scale"])
def test_an_observation_is_what_its_names_say(make_env, two_services, case):
    load = (60.0, 60.0, 700.0, 700.0, 60.0, 0.0, 90.0)
    scaled = {"services": {"web": {"scale_replicas": 40}}}
    cluster = {"one service": {}, "two services": two_services, "another scale": scaled}[case]
    seen = {"forecast": "oracle", "lags": 4}
    env = make_env(load, start_time_s=200_000.0, planned=True, observation=seen, cluster=cluster)
    env.action_space.seed(1)
    observation, _ = env.reset(seed=1)
    views = [env.observe()]
    checked = set()
    for step in range(env.episode_steps + 1):
        plan = ((6, 1.0, 768 * MIB), (2, 0.25, 384 * MIB))[step * 15 >= 300]
        future_s = views[-1].time_s + 60.0 * np.arange(1, 6)
        rates = np.interp(future_s, 60.0 * np.arange(7), load)
        expected = expected_observation(env, views, plan, rates)
        shown = dict(zip(env.observation_names, observation.tolist(), strict=True))
        assert set(expected) <= set(shown)
        for name, value in expected.items():
            assert shown[name] == pytest.approx(value, rel=1e-5, abs=1e-6), (step, name)
        checked |= set(expected)
        if step < env.episode_steps:
            observation = env.step(env.action_space.sample())[0]
            views.append(env.observe())
    assert checked == set(env.observation_names)


def test_every_feature_varies_somewhere(make_env):
    wild = {
        "cluster": {
            "faults": {"node_failures_per_hour": 20.0, "node_failure_duration_s": 100.0},
            "monitoring": {"sample_loss_probability": 0.3},
            "nodes": {"detection_s": 15.0, "eviction_s": 15.0, "count": 2},
        },
        "observation": {"forecast": "noisy_oracle"},
    }
    least, most = None, None
    for load, start_time_s in (
        ((20.0, 900.0, 20.0, 300.0, 0.0, 50.0), 30_000.0),
        ((10.0, 400.0, 50.0), 560_000.0),
    ):
        env = make_env(load, start_time_s=start_time_s, planned=True, **wild)
        env.action_space.seed(0)
        seen = [env.reset(seed=3)[0]]
        seen += [env.step(env.action_space.sample())[0] for _ in range(env.episode_steps)]
        low, high = np.min(seen, axis=0), np.max(seen, axis=0)
        least = low if least is None else np.minimum(least, low)
        most = high if most is None else np.maximum(most, high)
    names = np.array(env.observation_names)
    assert names[most - least < 1e-4].tolist() == []


@pytest.mark.parametrize("forecast", ["none", "naive", "noisy_oracle", "oracle"])
def test_a_forecast_is_as_good_as_its_mode(make_env, forecast):
    # The future: 500 requests/s in five minutes, of which nothing is to be seen yet.
    env = make_env((100.0, 100.0, 100.0, 100.0, 100.0, 500.0, 500.0), observation={"forecast": forecast})
    env.reset(seed=0)
    shown = []
    for _ in range(8):
        observation = env.step(KEEP)[0]
        shown.append(dict(zip(env.observation_names, observation.tolist(), strict=True)))
    last, scale = shown[-1], most_rps(env.config.cluster.services[0])  # at 120 s
    means = np.array([last[f"web.forecast_mean[+{minute}min]"] for minute in range(1, 6)]) * scale
    lower = np.array([last[f"web.forecast_lower[+{minute}min]"] for minute in range(1, 6)]) * scale
    upper = np.array([last[f"web.forecast_upper[+{minute}min]"] for minute in range(1, 6)]) * scale
    truth = np.array([100.0, 100.0, 500.0, 500.0, 500.0])
    assert (lower <= means).all()
    assert (means <= upper).all()
    if forecast == "none":
        assert (means == 0.0).all()
    elif forecast == "naive":
        assert means == pytest.approx(np.full(5, last["web.request_rate[-0]"] * scale))
        history = [last[f"web.request_rate[-{lag}]"] for lag in range(8)]
        assert (lower[0], upper[0]) == pytest.approx((min(history) * scale, max(history) * scale))
    elif forecast == "oracle":
        assert means == pytest.approx(truth)
        assert (lower == means).all()
        assert (upper == means).all()
    else:
        assert means != pytest.approx(truth, rel=1e-3)
        assert means == pytest.approx(truth, rel=0.5)
        assert (upper - means) == pytest.approx(1.2815515 * 0.1 * means, rel=1e-4)


def test_the_noisy_oracle_is_unbiased_and_as_noisy_as_declared(make_env):
    config = {"forecast": "noisy_oracle", "forecast_sigma": 0.2}
    env = make_env((100.0, 100.0), observation=config, episode_s=6000.0)
    where = [index for index, name in enumerate(env.observation_names) if "forecast_mean" in name]
    env.reset(seed=0)
    scale = most_rps(env.config.cluster.services[0]) / 100.0
    seen = np.array([env.step(KEEP)[0][where] for _ in range(400)]) * scale
    assert seen.mean() == pytest.approx(1.0, abs=0.02)
    assert seen.std() == pytest.approx(0.2, rel=0.1)


def test_the_naive_forecast_does_not_know_the_future(make_env):
    def shown(last):
        env = make_env((100.0, 100.0, last))
        env.reset(seed=0)
        return [env.step(KEEP)[0].tobytes() for _ in range(4)]  # up to 60 s, where the loads part

    assert shown(100.0) == shown(900.0)
