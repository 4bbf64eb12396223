"""What goes wrong with a cluster while an episode runs, and what the environment makes of it."""

import numpy as np
import pytest
from oracles.simulated_backend import SAFE, made

from podgym.envs.cluster import ServiceDecision
from podgym.envs.kubernetes.errors import (
    AccessDeniedError,
    ClusterError,
    ConflictError,
    TargetGoneError,
    TransientError,
)
from podgym.errors import InputError


def test_p13_nothing_changes_while_nothing_can_be_measured():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    before = backend.replicas
    backend.broken_metrics = {"request_rate_rps": "empty result", "pods": "empty result"}
    env.step_decisions([ServiceDecision()])
    for replicas in (1, 20):
        env.step_decisions([ServiceDecision(replicas=replicas)])
        backend.extra_age_s += 1000.0
    env.step_decisions([ServiceDecision(replicas=1)])
    assert backend.replicas >= before
    assert any("empty result" in problem for problem in env.problems)


def test_p14_one_bad_metric_lets_grow_and_never_shrink():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    backend.broken_metrics = {"request_rate_rps": "several series"}
    env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=2)])
    assert backend.replicas == 8
    assert "held_invalid" in env.log.services[0].reasons
    env.step_decisions([ServiceDecision(replicas=12)])
    assert backend.replicas == 12


def test_p16_a_stale_sample_never_shrinks():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    backend.extra_age_s = 300.0
    env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=2)])
    assert backend.replicas == 8
    assert "held_stale" in env.log.services[0].reasons


def test_p24_nothing_shrinks_before_one_window_has_passed():
    env, backend, _ = made(safety={**SAFE, "down_window_s": 120.0})
    env.reset(seed=3)
    for step in range(20):
        env.step_decisions([ServiceDecision(replicas=3)])
        if env.log.time_s < 120.0:
            assert backend.replicas == 8, step
    assert backend.replicas == 3


def test_p25_pods_that_cannot_be_listed_hold():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    backend.fail["pods"] = [TransientError("503 from the API server")]
    env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=15)])
    assert backend.replicas == 8
    assert "cannot_count_pods" in env.log.services[0].reasons


def test_p45_a_conflict_is_read_anew_and_tried_again():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    backend.fail["set_replicas"] = [ConflictError("409")]
    env.step_decisions([ServiceDecision(replicas=11)])
    assert backend.replicas == 11
    backend.fail["set_replicas"] = [ConflictError("409")] * 10
    env.step_decisions([ServiceDecision(replicas=14)])
    assert backend.replicas == 11
    assert len(backend.fail["set_replicas"]) == 10 - 3  # bounded: once and two more
    assert env.log.services[0].problems


def test_p47_a_failing_write_holds():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    backend.fail["set_replicas"] = [TransientError("500 from the API server")]
    env.step_decisions([ServiceDecision(replicas=11)])
    assert backend.replicas == 8
    assert env.ended_because is None
    assert any("500" in problem for problem in env.problems)


def test_p50_a_deleted_target_ends_the_episode_and_is_not_made_again():
    env, backend, _ = made()
    env.reset(seed=3)
    backend.fail["deployment"] = [TargetGoneError("demo/web was deleted")]
    _, _, terminated, truncated, _ = env.step_decisions([ServiceDecision()])
    assert (terminated, truncated) == (False, True)
    assert "deleted" in str(env.ended_because)
    assert not [write for write in backend.writes if write[0] == "replicas"]


def test_p51_missing_permission_stops_the_run():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    backend.fail["set_replicas"] = [AccessDeniedError("patch deployments/scale in namespace demo")]
    with pytest.raises(AccessDeniedError, match="patch deployments/scale"):
        env.step_decisions([ServiceDecision(replicas=11)])


def test_p52_the_api_gets_python_integers():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=np.int64(9))])  # the backend refuses anything but int
    assert backend.replicas == 9


def test_p53_yields_to_someone_else_and_leaves_their_value():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=10)])
    backend.foreign_scale(17)
    _, _, _, truncated, _ = env.step_decisions([ServiceDecision()])
    assert truncated
    assert "17" in str(env.ended_because)
    env.close()
    assert backend.replicas == 17


def test_stops_when_nothing_answers_for_too_long():
    env, backend, _ = made(safety={**SAFE, "stop_after_failures": 3})
    env.reset(seed=3)
    backend.fail["deployment"] = [TransientError("timeout")] * 10
    env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision()])
    with pytest.raises(ClusterError, match="3 steps in a row"):
        env.step_decisions([ServiceDecision()])


def test_a_rival_during_a_conflict_ends_the_episode():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])

    original = backend.set_replicas

    def conflict(deployment, replicas):
        backend.set_replicas = original  # a second attempt would succeed, and undo what the rival did
        backend.foreign_scale(13)
        raise ConflictError("409")

    backend.set_replicas = conflict
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=10)])
    assert truncated
    assert "13" in str(env.ended_because)
    env.close()
    assert backend.replicas == 13


def test_a_target_made_again_during_a_conflict_is_not_scaled():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    before = backend.replicas
    original = backend.set_replicas

    def conflict(deployment, replicas):
        backend.set_replicas = original  # a second attempt would succeed, on a Deployment that is not ours
        backend.uid = "uid-2"
        raise ConflictError("409")

    backend.set_replicas = conflict
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=10)])
    assert truncated
    assert "made again" in str(env.ended_because)
    assert backend.replicas == before


def test_what_cannot_be_read_keeps_its_last_value():
    env, backend, _ = made()
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    before = env.observe().services[0].request_rate_rps
    backend.broken_metrics = {"request_rate_rps": "empty result"}
    env.step_decisions([ServiceDecision()])
    assert env.observe().services[0].request_rate_rps == before > 0.0


def warmed(**options):
    env, backend, clock = made(**options)
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    return env, backend, clock


def test_what_fails_after_the_replicas_were_written_is_a_problem_and_no_rival():
    env, backend, _ = warmed(emit_events=True)
    backend.fail["emit_event"] = [TransientError("500 for the event")]
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=11)])
    assert not truncated
    assert env.log.services[0].written
    assert any("500 for the event" in problem for problem in env.problems)
    env.step_decisions([ServiceDecision()])
    assert env.ended_because is None
    env.close()
    assert backend.replicas == 8


def test_a_write_whose_answer_was_lost_is_no_rival():
    env, backend, _ = warmed()
    original = backend.set_replicas

    def lost(deployment, replicas):
        original(deployment, replicas)
        raise TransientError("no answer")

    backend.set_replicas = lost
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=11)])
    backend.set_replicas = original
    assert not truncated
    assert backend.replicas == 11
    backend.foreign_scale(8)  # from here on only what was read last is ours
    *_, truncated, _ = env.step_decisions([ServiceDecision()])
    assert truncated


def test_nothing_is_written_once_the_episode_is_over():
    env, backend, _ = warmed()
    backend.foreign_scale(14)
    env.step_decisions([ServiceDecision()])
    with pytest.raises(InputError, match="the episode is over"):
        env.step_decisions([ServiceDecision(replicas=3)])
    with pytest.raises(InputError, match="the episode is over"):
        env.step(env._decoder.null_action)
    assert backend.replicas == 14


def test_the_next_episode_takes_what_the_rival_left_as_found():
    env, backend, _ = warmed()
    backend.foreign_scale(14)
    env.step_decisions([ServiceDecision()])
    env.reset(seed=3)
    for _ in range(6):
        env.step_decisions([ServiceDecision()])
    env.step_decisions([ServiceDecision(replicas=20)])
    assert backend.replicas == 20
    env.close()
    assert backend.replicas == 14


def test_a_deployment_made_again_is_another_one():
    env, backend, _ = warmed()
    backend.uid = "uid-2"
    *_, truncated, _ = env.step_decisions([ServiceDecision(replicas=11)])
    assert truncated
    assert "made again" in str(env.ended_because)


def test_a_run_whose_note_was_removed_stops_acting():
    env, backend, _ = warmed()
    backend.annotations.clear()  # podgym restore, from another shell
    *_, truncated, _ = env.step_decisions([ServiceDecision()])
    assert truncated
    assert "note" in str(env.ended_because)
    env.close()
    assert backend.replicas == 8


def test_a_reset_that_fails_leaves_no_episode():
    env, backend, _ = warmed()
    backend.fail["deployment"] = [TransientError("503")] * 10
    with pytest.raises(TransientError):
        env.reset(seed=3)
    with pytest.raises(InputError, match="call reset"):
        env.step_decisions([ServiceDecision()])
