"""What the settings name is found, or refused with a remedy before anything is changed."""

import dataclasses

import pytest

from podgym.envs.cluster import Quota
from podgym.envs.kubernetes.errors import TargetGoneError
from podgym.envs.kubernetes.readings import DeploymentState
from podgym.envs.kubernetes.settings import parse_settings
from podgym.envs.kubernetes.targets import resolve
from podgym.errors import InputError

NAN = float("nan")
MIB = 2.0**20
QUOTA = Quota(0.4, 0.8, 300.0 * MIB, 600.0 * MIB)
FOUND = DeploymentState(
    "demo", "shop", "uid", "1", 1, 6, 6, 6, "app=shop", {"app": "shop"}, {"main": QUOTA}, {}
)  # fmt: skip


class Reader:
    def __init__(self, found=FOUND):
        self.found = found

    def deployment(self, namespace, name):
        if (namespace, name) != (self.found.namespace, self.found.name):
            raise TargetGoneError(f"{namespace}/{name}")
        return self.found


def settings(environment="podgym/Trace-v0", **target):
    return parse_settings(
        {
            "environment": environment,
            "services": {"web": {"namespace": "demo", "deployment": "shop", **target}},
            "metrics": {"url": "http://localhost:9"},
        }
    )


def test_what_is_found_lies_over_the_simulated_environment():
    config, (target,) = resolve(settings(max_replicas=9, min_replicas=2, slo_response_time_s=0.4), Reader())
    service = config.cluster.services[0]
    assert service is target.service
    assert service.quota == QUOTA
    assert (service.min_replicas, service.max_replicas, service.initial_replicas) == (2, 9, 6)
    assert service.replicas_scale == 9
    changes = {"cluster": {"services": {"web": {"scale_replicas": 28}}}}
    for most, scale in ((9, 28), (40, 40)):  # a scale that was set stays, as far as it can
        (service,) = resolve(settings(max_replicas=most), Reader(), changes)[0].cluster.services
        assert (service.max_replicas, service.replicas_scale) == (most, scale)
    service = config.cluster.services[0]
    assert service.slo_response_time_s == 0.4
    assert (target.watched.namespace, target.watched.deployment, target.container) == ("demo", "shop", "main")


def test_replicas_found_outside_the_bounds_begin_at_the_bound():
    config, _ = resolve(settings(max_replicas=4), Reader())
    assert config.cluster.services[0].initial_replicas == 4


def test_changes_reach_the_configuration():
    config, _ = resolve(settings(), Reader(), {"cluster": {"control_interval_s": 30.0}, "episode_s": 90.0})
    assert config.cluster.control_interval_s == 30.0
    assert config.episode_s == 90.0


def test_a_missing_limit_is_taken_to_be_the_request():
    bare = dataclasses.replace(FOUND, quotas={"main": Quota(0.4, NAN, 300.0 * MIB, NAN)})
    config, _ = resolve(settings(), Reader(bare))
    assert config.cluster.services[0].quota == Quota(0.4, 0.4, 300.0 * MIB, 300.0 * MIB)


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (Quota(NAN, NAN, 300.0 * MIB, NAN), "no cpu request.*kubectl set resources.*cpu=500m"),
        (Quota(0.4, NAN, NAN, NAN), "no memory request.*kubectl set resources.*memory=512Mi"),
        (Quota(0.0, NAN, 300.0 * MIB, NAN), "no cpu request"),
    ],
)
def test_pods_without_requests_are_refused(quota, words):
    with pytest.raises(InputError, match=words):
        resolve(settings(), Reader(dataclasses.replace(FOUND, quotas={"main": quota})))


def test_several_containers_ask_for_one():
    two = dataclasses.replace(FOUND, quotas={"main": QUOTA, "proxy": QUOTA})
    with pytest.raises(InputError, match=r"2 containers.*main, proxy.*container"):
        resolve(settings(), Reader(two))
    _, (target,) = resolve(settings(container="proxy"), Reader(two))
    assert target.container == "proxy"
    with pytest.raises(InputError, match="Did you mean 'proxy'"):
        resolve(settings(container="proxi"), Reader(two))


def test_no_such_deployment_names_the_command_that_lists_them():
    with pytest.raises(InputError, match="kubectl get deployments -n demo"):
        resolve(settings(deployment="shopp"), Reader())


def test_services_and_environment_must_agree():
    with pytest.raises(InputError, match="Did you mean 'podgym/Trace-v0'"):
        resolve(settings("podgym/Trace-v1"), Reader())
    with pytest.raises(InputError, match="the settings have not"):
        resolve(
            parse_settings(
                {
                    "environment": "podgym/Boutique-v0",
                    "services": {"frontend": {"namespace": "demo", "deployment": "shop"}},
                    "metrics": {"url": "http://localhost:9"},
                }
            ),
            Reader(),
        )
    bad = parse_settings(
        {"services": {"wep": {"deployment": "shop"}}, "metrics": {"url": "http://localhost:9"}}
    )
    with pytest.raises(InputError, match="Did you mean 'web'"):
        resolve(bad, Reader())


def test_bounds_that_contradict_the_environment_are_refused():
    with pytest.raises(InputError, match="give both"):
        resolve(settings(min_replicas=100), Reader())


def test_bounds_that_nobody_chose_do_not_scale_in_the_first_step():
    many = dataclasses.replace(FOUND, replicas=60)
    with pytest.raises(InputError, match=r"60 replicas, and max_replicas is 28.*give max_replicas"):
        resolve(settings(), Reader(many))
    config, _ = resolve(settings(max_replicas=28), Reader(many))
    assert config.cluster.services[0].initial_replicas == 28
    shadow = dataclasses.replace(settings(), mode="shadow")
    assert resolve(shadow, Reader(many))
