"""What a run shows: read back from the event files and the table that real updates wrote."""

import csv
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
pytest.importorskip("tensorboard")

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from podgym.envs.config import REWARD_TERMS
from podgym.envs.totals import INFO_KEYS
from podgym.errors import InputError
from podgym.train import tensorboard as log_module
from podgym.train.results import DevEpisode, DevResult, RolloutStatistics
from podgym.train.tensorboard import CLUSTER_CURVES, TrainingLog, add_counts

NUM_ENVS, NUM_STEPS, NUM_ACTIONS = 4, 8, 3
FRAMES = NUM_ENVS * NUM_STEPS


class FakeEnv(VecEnv):
    """An environment of constant observations whose statistics tell which rollout they are of."""

    def __init__(self):
        space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(NUM_ENVS, space, gym.spaces.MultiDiscrete([NUM_ACTIONS]))
        self.rollouts = 0
        self.counts = np.zeros(NUM_ACTIONS, dtype=np.int64)
        self.episode_returns = np.array([-3.0, -5.0])

    def _observations(self):
        return np.zeros((NUM_ENVS, 2), dtype=np.float32)

    def reset(self):
        return self._observations()

    def step_async(self, actions):
        self.counts += np.bincount(actions[:, 0], minlength=NUM_ACTIONS)

    def step_wait(self):
        return self._observations(), np.ones(NUM_ENVS, np.float32), np.zeros(NUM_ENVS, bool), [{}] * NUM_ENVS

    def drain_statistics(self):
        self.rollouts += 1
        totals = {key: 100.0 * self.rollouts + number for number, key in enumerate(INFO_KEYS)}
        counts, self.counts = self.counts, np.zeros(NUM_ACTIONS, dtype=np.int64)
        self.last_counts = counts
        return RolloutStatistics(
            totals, (counts,), ("web.replicas",), self.episode_returns, 1.5 * self.rollouts, FRAMES,
            ((-2.0, 0.0, 2.0),),
        )  # fmt: skip

    def close(self):
        pass

    def get_attr(self, attr_name, indices=None):
        return [None] * NUM_ENVS

    def set_attr(self, attr_name, value, indices=None):
        raise NotImplementedError

    def env_method(self, method_name, *method_args, indices=None, **method_kwargs):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * NUM_ENVS


class ConstrainedPPO(PPO):
    """Records what a Lagrangian algorithm would."""

    def train(self):
        super().train()
        self.logger.record("constraint/multiplier", 0.5 * self.num_timesteps)


def make_model(env, log):
    model = ConstrainedPPO(
        "MlpPolicy", env, n_steps=NUM_STEPS, batch_size=16, n_epochs=1, seed=0, device="cpu",
        policy_kwargs={"net_arch": [4]},
    )  # fmt: skip
    model.set_logger(log.make_logger())
    return model


def learn(model, log, iterations, **options):
    options = {"log_interval": None, "reset_num_timesteps": False, **options}
    model.learn(iterations * FRAMES, callback=log, **options)


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    return accumulator.Reload()


def curve(folder, name):
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


def table(folder):
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def dev_result(frames, cost=80.0):
    return DevResult(frames, cost, 0.0125, 3.5, 41.0, True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder, environment and model of a run of two chunks, three iterations in all."""
    folder = tmp_path_factory.mktemp("run")
    env, log = FakeEnv(), TrainingLog(folder)
    model = make_model(env, log)
    log.log_evaluation(dev_result(0, cost=100.0))
    learn(model, log, 2)
    log.log_evaluation(dev_result(2 * FRAMES))
    learn(model, log, 1)
    log.close()
    return folder, env, model


def test_every_curve_is_there(trained):
    folder, _, _ = trained
    tags = set(events(folder).Tags()["scalars"])
    expected = {
        *CLUSTER_CURVES, *(f"reward_terms/{name}" for name in REWARD_TERMS),
        "rollout/episode_return", "rollout/reward", "rollout/episodes",
        "cluster/response_time_s", "cluster/slo_violation_ratio", "cluster/cpu_utilisation",
        "cluster/requested_cores", "cluster/churn", "policy/entropy", "policy/distance_to_plan",
        "policy/clip_fraction", "policy/approx_kl", "train/explained_variance", "train/value_loss",
        "train/learning_rate", "constraint/multiplier", "time/frames_per_s",
        "dev/cost", "dev/slo_violation_ratio", "dev/requested_core_hours", "dev/churn",
    }  # fmt: skip
    assert expected <= tags
    assert not tags & {"train/entropy_loss", "train/clip_fraction"}  # they have other names here


@pytest.mark.parametrize("name", ["cluster/churn", "rollout/reward", "reward_terms/memory_cost"])
def test_means_of_a_rollout_are_shown_under_the_frames_of_its_update(trained, name):
    folder, _, _ = trained
    place = list(INFO_KEYS).index(CLUSTER_CURVES[name])
    assert curve(folder, name) == [(n * FRAMES, 100.0 * n + place) for n in (1, 2, 3)]


def test_an_update_is_shown_beside_its_own_rollout(trained):
    folder, _, _ = trained
    assert curve(folder, "constraint/multiplier") == [(n * FRAMES, 0.5 * n * FRAMES) for n in (1, 2, 3)]
    assert curve(folder, "policy/distance_to_plan") == [(n * FRAMES, 1.5 * n) for n in (1, 2, 3)]
    assert curve(folder, "rollout/episode_return") == [(n * FRAMES, -4.0) for n in (1, 2, 3)]


def test_entropy_is_positive_and_at_most_that_of_chance(trained):
    folder, _, _ = trained
    entropies = [value for _, value in curve(folder, "policy/entropy")]
    assert all(0.9 * np.log(NUM_ACTIONS) < value <= np.log(NUM_ACTIONS) + 1e-6 for value in entropies)


def test_frames_per_second_are_those_of_the_clock(trained):
    folder, _, _ = trained
    assert all(0.0 < value < 1e7 for _, value in curve(folder, "time/frames_per_s"))


def test_actions_are_histograms_with_a_bar_per_choice(trained):
    folder, env, _ = trained
    *_, last = events(folder).Histograms("actions/web.replicas")
    histogram = last.histogram_value
    assert last.step == 3 * FRAMES
    assert list(histogram.bucket_limit) == [-1.0, 1.0, 2.5]
    assert list(histogram.bucket) == env.last_counts.tolist()
    assert (histogram.min, histogram.max, histogram.num) == (-2.5, 2.5, FRAMES)
    assert histogram.sum == 2.0 * (env.last_counts[2] - env.last_counts[0])
    assert histogram.sum_squares == 4.0 * (env.last_counts[2] + env.last_counts[0])


def test_the_table_has_the_same_numbers(trained):
    folder, _, _ = trained
    rows = table(folder)
    assert [row["time/frames"] for row in rows] == [str(n * FRAMES) for n in (0, 1, 2, 2, 3)]
    assert [row["dev/cost"] for row in rows] == ["100.0", "", "", "80.0", ""]
    trained_rows = [row for row in rows if row["policy/entropy"]]
    assert [float(row["policy/entropy"]) for row in trained_rows] == pytest.approx(
        [value for _, value in curve(folder, "policy/entropy")], rel=1e-6
    )


def test_a_rollout_without_an_end_of_an_episode_has_no_return(tmp_path):
    env, log = FakeEnv(), TrainingLog(tmp_path)
    env.episode_returns = np.zeros(0)
    learn(make_model(env, log), log, 1)
    log.close()
    assert "rollout/episode_return" not in events(tmp_path).Tags()["scalars"]
    assert curve(tmp_path, "rollout/episodes") == [(FRAMES, 0.0)]


def test_a_dump_by_the_algorithm_itself_loses_nothing(tmp_path):
    env, log = FakeEnv(), TrainingLog(tmp_path)
    learn(make_model(env, log), log, 2, log_interval=1)
    log.close()
    for name in ("rollout/reward", "constraint/multiplier"):
        assert [step for step, _ in curve(tmp_path, name)] == [FRAMES, 2 * FRAMES]


def test_a_run_that_goes_on_replaces_what_was_drawn_beyond_its_checkpoint(tmp_path):
    env, log = FakeEnv(), TrainingLog(tmp_path)
    model = make_model(env, log)
    learn(model, log, 3)
    log.log_evaluation(dev_result(3 * FRAMES, cost=1.0))
    log.close()
    model.num_timesteps = FRAMES  # the checkpoint was after the first iteration
    log = TrainingLog(tmp_path, frames=FRAMES)
    model.set_logger(log.make_logger())
    learn(model, log, 1)
    log.close()
    place = list(INFO_KEYS).index("reward")
    expected = [(FRAMES, 100.0 + place), (2 * FRAMES, 400.0 + place)]
    assert curve(tmp_path, "rollout/reward") == expected
    assert [(int(row["time/frames"]), float(row["rollout/reward"])) for row in table(tmp_path)] == expected
    assert curve(tmp_path, "dev/cost") == []


def test_a_run_that_begins_anew_forgets_the_attempt_before(tmp_path):
    for cost in (1.0, 2.0):
        log = TrainingLog(tmp_path)
        log.log_evaluation(dev_result(0, cost))
        log.close()
    assert curve(tmp_path, "dev/cost") == [(0, 2.0)]
    assert [row["dev/cost"] for row in table(tmp_path)] == ["2.0"]


def test_evaluations_bring_a_figure_every_so_often(tmp_path):
    time_s = np.arange(1, 9) * 15.0
    series = {name: np.full(8, 2.0) for name in INFO_KEYS} | {"time_s": time_s, "users": np.zeros(8)}
    episode = DevEpisode("podgym/Burst-v0, dev seed 100000", series, 0.25)
    log = TrainingLog(tmp_path, figure_every=2)
    due = []
    for number in range(3):
        due.append(log.figure_due)
        log.log_evaluation(dev_result(number * FRAMES), episode if log.figure_due else None)
    log.close()
    assert due == [True, False, True]
    images = events(tmp_path).Images("dev/episode")
    assert [image.step for image in images] == [0, 2 * FRAMES]
    assert (images[0].width, images[0].height) == (800, 700)
    assert curve(tmp_path, "dev/cost") == [(number * FRAMES, 80.0) for number in range(3)]
    assert not TrainingLog(tmp_path, evaluations=3, figure_every=2).figure_due
    assert TrainingLog(tmp_path, evaluations=4, figure_every=2).figure_due
    assert not TrainingLog(tmp_path, figure_every=0).figure_due


def test_choices_without_values_are_counted_by_index(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        add_counts(writer, "a", np.array([1, 0, 4]), (), 7)
    (event,) = events(tmp_path).Histograms("a")
    assert list(event.histogram_value.bucket_limit) == [0.5, 1.5, 2.5]
    assert list(event.histogram_value.bucket) == [1.0, 0.0, 4.0]
    assert event.histogram_value.sum == 8.0


def test_a_missing_total_is_no_silent_gap(tmp_path):
    env, log = FakeEnv(), TrainingLog(tmp_path)
    drain = env.drain_statistics
    env.drain_statistics = lambda: replace(drain(), totals={})
    with pytest.raises(KeyError, match="offered_rps"):
        learn(make_model(env, log), log, 1)
    log.close()


def test_without_tensorboard_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'podgym\[rl\]'"):
        log_module.TrainingLog(tmp_path)
