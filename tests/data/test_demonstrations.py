"""Demonstrations: whole episodes in, windows that never cross their ends out."""

from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer
from minari.utils import create_dataset_from_buffers

from generative_policies.data import Demonstrations, NextStateDataset


def episode(length: int, first: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Observations that count from ``first``, actions that are what they lead to."""
    observations = first + np.arange(length + 1.0)[:, None]
    return observations, observations[1:]


def test_windows_stay_inside_their_episode() -> None:
    data = Demonstrations.from_episodes([episode(3), episode(5, 100)])
    windows = data.windows(history=3, horizon=4)
    seen = data.observations["observation"][windows.history][..., 0]
    assert data.actions is not None
    planned = data.actions[windows.future][..., 0]
    assert seen[:3].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2]]
    assert planned[:3].tolist() == [[1, 2, 3, 3], [2, 3, 3, 3], [3, 3, 3, 3]]
    assert seen[3:].min() == 100 and planned[:3].max() == 3 and planned[3:].min() == 101
    assert (seen[:, -1] + 1 == planned[:, 0]).all()


def test_a_split_is_by_episode_and_loses_nothing() -> None:
    data = Demonstrations.from_episodes([episode(4, 100.0 * k) for k in range(10)])
    train, validation = data.split(0.2, np.random.default_rng(0))
    assert (train.num_episodes, validation.num_episodes) == (8, 2)
    sides = [set(part.observations["observation"][:, 0] // 100) for part in (train, validation)]
    assert not sides[0] & sides[1] and sides[0] | sides[1] == set(range(10))
    for part in (train, validation):
        assert part.last_observations is not None
        lasts = part.last_observations["observation"][:, 0]
        assert lasts.tolist() == (part.observations["observation"][3::4, 0] + 1).tolist()


def test_next_states_follow_within_the_episode_and_stop_at_its_end() -> None:
    data = Demonstrations.from_episodes([(episode(3)[0], None), (episode(2, 100)[0], None)])
    one = NextStateDataset.from_demonstrations(data)
    assert (one.next_obs - one.obs == 1).all() and len(one) == 5
    three = NextStateDataset.from_demonstrations(data, horizon=3)
    assert three.next_obs[..., 0].tolist() == [[1, 2, 3], [2, 3, 3], [3, 3, 3], [101, 102, 102], [102, 102, 102]]
    with_actions = NextStateDataset.from_demonstrations(Demonstrations.from_episodes([episode(3), episode(2, 100)]))
    assert np.array_equal(with_actions.next_obs, one.next_obs)


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "at least one episode"),
        ([episode(3), episode(1)], "episode 1 of the demonstrations has 1 steps"),
        ([(np.zeros((5, 2)), np.zeros((3, 1)))], "got 5 and 3"),
        ([(np.zeros((4, 2)), np.zeros((3, 1))), (np.zeros((4, 3)), np.zeros((3, 1)))], "same shapes"),
        ([(np.zeros((4, 2)), np.full((3, 1), np.nan))], r"actions must be finite.* row 0, of episode 0"),
        ([episode(3), (np.full((4, 1), np.inf), np.zeros((3, 1)))], r"must be finite.* row 3, of episode 1"),
        ([({"a": np.zeros((4, 2)), "b": np.zeros((3, 2))}, np.zeros((3, 1)))], "equally many"),
        ([(np.array([["a"]] * 4), np.zeros((3, 1)))], "must hold numbers"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(episodes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Demonstrations.from_episodes(episodes)


def test_a_minari_dataset_comes_by_id_by_folder_and_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gymnasium.make("Pendulum-v1")
    buffers = []
    for seed, length in ((0, 5), (1, 7)):
        observation, _ = env.reset(seed=seed)
        env.action_space.seed(seed)
        steps = [(observation, None)]
        for _ in range(length):
            action = env.action_space.sample()
            steps.append((env.step(action)[0], action))
        buffers.append(
            EpisodeBuffer(
                observations=[obs for obs, _ in steps],
                actions=[action for _, action in steps[1:]],
                rewards=[0.0] * length,
                terminations=[False] * length,
                truncations=[False] * (length - 1) + [True],
            )
        )
    dataset = create_dataset_from_buffers("test/pendulum-v0", buffers, env=env)
    found = [
        Demonstrations.from_minari(source)
        for source in ("test/pendulum-v0", tmp_path / "test" / "pendulum-v0", minari.load_dataset("test/pendulum-v0"))
    ]
    for data in (*found, Demonstrations.from_minari(dataset)):
        assert data.lengths.tolist() == [5, 7]
        assert data.action_space == env.action_space and data.observation_space == env.observation_space
        assert data.actions is not None and data.last_observations is not None
        np.testing.assert_array_equal(data.actions[5:], np.stack(buffers[1].actions))
        np.testing.assert_array_equal(data.last_observations["observation"][1], buffers[1].observations[-1])
    with pytest.raises(FileNotFoundError):
        Demonstrations.from_minari("test/nothing-v0")
