"""Relabelling through a learned inverse dynamics of the source."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from generative_policies.data import TransitionDataset
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.rollouts import (
    relabel,
)
from generative_policies.training import FitSettings, fit


def drive(rng: np.random.Generator, gear: float, rows: int = 3000) -> TransitionDataset:
    """A cart whose velocity changes by gear * action."""
    obs, actions = rng.standard_normal((rows, 2)), rng.uniform(-1, 1, (rows, 1))
    next_obs = obs + np.concatenate([0.1 * obs[:, 1:], gear * actions], axis=1)
    return TransitionDataset(np.arange(rows) // 30, obs, next_obs, actions)


def test_a_weaker_motor_is_paired_with_smaller_source_actions(rng: np.random.Generator) -> None:
    inverse_dynamics = MlpInverseDynamics(1, 2, (32, 32))
    generator = torch.Generator().manual_seed(0)
    fit(inverse_dynamics, drive(rng, gear=1.0), FitSettings(num_updates=1500), generator=generator)
    target = drive(rng, gear=0.5)
    pairs = relabel(target, inverse_dynamics)
    assert np.array_equal(pairs.obs, target.obs) and np.array_equal(pairs.target_actions, target.actions)
    assert np.array_equal(pairs.episodes, target.episodes)
    assert np.abs(pairs.source_actions - 0.5 * target.actions).mean() < 0.02


def test_other_observations_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="obs must have shape"):
        relabel(drive(rng, 1.0), MlpInverseDynamics(1, 3))


def test_a_source_that_sees_the_leading_part_is_asked_of_it_alone(rng: np.random.Generator) -> None:
    narrow, target = MlpInverseDynamics(1, 2), drive(rng, gear=0.5, rows=60)
    wide = replace(
        target,
        obs=np.concatenate([target.obs, rng.standard_normal((60, 3))], axis=1),
        next_obs=np.concatenate([target.next_obs, rng.standard_normal((60, 3))], axis=1),
    )
    pairs = relabel(wide, narrow, source_observation=2)
    assert np.array_equal(pairs.source_actions, relabel(target, narrow).source_actions)
    assert np.array_equal(pairs.obs, wide.obs)
    half = MlpInverseDynamics(1, 2, next_obs_dim=1)  # it knows less of the next observation
    expected = half.predict(target.obs, target.next_obs[:, :1])
    assert np.array_equal(relabel(wide, half, source_observation=2).source_actions, expected)
    for data, model, count in ((wide, narrow, 3), (wide, narrow, -2), (target, MlpInverseDynamics(1, 3), 3)):
        with pytest.raises(ValueError, match=f"source_observation must be the {model.obs_dim} entries .* got {count}"):
            relabel(data, model, source_observation=count)
