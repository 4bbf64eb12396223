import gymnasium
from oracles.busy_service import busy, follow
from oracles.observations import MIB, QUOTA, observe

from podgym.baselines.kubernetes_default import KubernetesDefaultController


def test_kubernetes_default_scales_out_by_cpu_and_up_by_memory():
    controller = KubernetesDefaultController(confidence_interval_s=60.0)
    assert controller.name == "kubernetes_default"
    decision = follow(controller, 5)
    assert decision.replicas == 8
    assert decision.evict == ("web-0", "web-1")
    assert decision.admission.cpu_request_cores == QUOTA.cpu_request_cores
    assert decision.admission.cpu_limit_cores == QUOTA.cpu_limit_cores
    assert decision.admission.memory_request_bytes > 900 * MIB
    warm = KubernetesDefaultController(confidence_interval_s=60.0, checkpoint=controller.checkpoint())
    controller.reset()
    for each, acts in ((controller, False), (warm, True)):
        (decision,) = each.decide(observe(busy(0.0)))
        assert bool(decision.evict) == acts
    assert KubernetesDefaultController(cpu_target_percent=200).decide(observe(busy(0.0)))[0].replicas is None


def test_in_the_simulator_evicted_pods_come_back_with_the_new_memory():
    env = gymnasium.make("podgym/HighLoad-v0").unwrapped
    env.reset(seed=3)
    controller = KubernetesDefaultController(confidence_interval_s=300.0)
    evicted, admitted = set(), set()
    template = env.observe().services[0].quota
    for _ in range(120):
        (decision,) = controller.decide(env.observe())
        evicted |= set(decision.evict)
        admitted |= {decision.admission.memory_request_bytes} if decision.admission else set()
        env.step_decisions((decision,))
    last = env.observe().services[0]
    assert evicted
    assert not evicted & {each.name for each in last.pods if not each.deleted}
    assert len(admitted) > 1
    new = [
        each.quota for each in last.pods if each.quota.memory_request_bytes != template.memory_request_bytes
    ]
    assert new
    assert {each.memory_request_bytes for each in new} <= admitted
    assert {(each.cpu_request_cores, each.cpu_limit_cores) for each in new} == {(0.5, 0.5)}
