"""Datasets: split by episode, join, refuse."""

from typing import Any

import numpy as np
import pytest

from generative_policies.data import ActionPairDataset, TransitionDataset


def pairs(episodes: list[int]) -> ActionPairDataset:
    """Rows that carry their episode in every array."""
    column = np.array(episodes, dtype=float)[:, None]
    return ActionPairDataset(np.array(episodes), np.tile(column, 3), np.tile(column, 2), column)


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_an_episode_is_never_on_both_sides(fraction: float, rng: np.random.Generator) -> None:
    data = pairs(list(np.repeat(np.arange(20), rng.integers(1, 9, 20))))
    train, validation = data.split(fraction, rng)
    assert not set(train.episodes) & set(validation.episodes)
    assert len(train) + len(validation) == len(data)
    assert min(train.num_episodes, validation.num_episodes) >= 1
    for part in (train, validation):
        for array in part.arrays().values():
            assert np.array_equal(array[:, 0], part.episodes)


def test_the_split_follows_its_generator() -> None:
    data = pairs(list(range(30)))
    splits = [set(data.split(0.5, np.random.default_rng(seed))[0].episodes) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_joining_keeps_episodes_apart() -> None:
    joined = ActionPairDataset.concatenate([pairs([7, 7, 9]), pairs([7, 8])])
    assert joined.episodes.tolist() == [0, 0, 1, 2, 3]
    assert joined.obs[:, 0].tolist() == [7, 7, 9, 7, 8]
    with pytest.raises(ValueError, match="at least one dataset"):
        ActionPairDataset.concatenate([])


def test_transitions_of_episodes_are_successive_observations() -> None:
    observations = [np.arange(8.0).reshape(4, 2), np.arange(4.0).reshape(2, 2) + 100]
    data = TransitionDataset.from_episodes(observations, [np.zeros((3, 1)), np.ones((1, 1))])
    assert data.obs[:, 0].tolist() == [0, 2, 4, 100]
    assert data.next_obs[:, 0].tolist() == [2, 4, 6, 102]
    assert data.episodes.tolist() == [0, 0, 0, 1]
    assert list(data.arrays()) == ["obs", "next_obs", "actions"]


def test_episodes_of_a_wrong_length_are_named() -> None:
    with pytest.raises(ValueError, match="episode 1 must have one observation more than actions, got 3 and 3"):
        TransitionDataset.from_episodes([np.zeros((2, 1)), np.zeros((3, 1))], [np.zeros((1, 1)), np.zeros((3, 1))])
    with pytest.raises(ValueError, match="at least one"):
        TransitionDataset.from_episodes([], [])


GOOD: dict[str, Any] = {
    "episodes": np.zeros(2, int),
    "obs": np.zeros((2, 3)),
    "source_actions": np.zeros((2, 1)),
    "target_actions": np.zeros((2, 1)),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": np.zeros((3, 3))}, r"obs must have shape \(2, features...\), got \(3, 3\)"),
        ({"source_actions": np.zeros(2)}, "source_actions"),
        ({"target_actions": np.array([[0.0], [np.nan]])}, "target_actions must hold finite numbers.*row 1"),
        ({"obs": np.array([["a"] * 3] * 2)}, "obs must hold finite numbers"),
        ({"episodes": np.zeros(2)}, "episodes must be integers"),
        ({name: array[:0] for name, array in GOOD.items()}, "at least one row"),
    ],
)
def test_bad_rows_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActionPairDataset(**{**GOOD, **changes})


def test_a_split_needs_two_episodes_and_a_fraction(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="at least two episodes, got 1"):
        pairs([4, 4]).split(0.5, rng)
    with pytest.raises(ValueError, match="inside"):
        pairs([4, 5]).split(1.0, rng)
