"""Matching across bodies: steps of the source from states that correspond."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from generative_policies.envs import Correspondence, corresponding_state
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.rollouts import (
    Episode,
    bodies,
    played_on_another_body,
    random_act,
    run_episodes,
    task_cycle_error,
    transitions,
)
from generative_policies.rollouts.pairing import ask_exact, ask_learned, steps_of
from generative_policies.training import FitSettings, fit


def arm(links: int, task: str = "Reach", **arguments: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(f"generative_policies/Arm{task}{links}-v0", **arguments)


def played(links: int, task: str = "Reach", seeds: range = range(4), states: bool = True) -> list[Episode]:
    env = arm(links, task)
    return run_episodes(lambda: arm(links, task), random_act(env.action_space), seeds, record_states=states)


@pytest.mark.parametrize("task", ["Reach", "Push"])
def test_on_its_own_body_the_recorded_actions_make_the_recorded_steps(task: str) -> None:
    episodes, env = played(2, task, range(2)), arm(2, task)
    steps = steps_of(episodes)
    found = played_on_another_body(episodes, steps.actions, arm(2, task, proprioception=False), env)
    assert found.reachable.mean() > 0.8  # the others press a joint into its limit
    task_dim = env.unwrapped.task_dim  # type: ignore[attr-defined]
    assert found.steps.next_obs.shape == (len(steps.obs), task_dim)
    recorded = steps.next_obs[found.reachable, :task_dim]
    np.testing.assert_allclose(found.steps.next_obs[found.reachable], recorded, atol=1e-9)
    assert task_cycle_error(env, found.steps, steps.actions)[found.reachable].max() < 1e-6
    assert np.array_equal(found.steps.obs, steps.obs) and np.array_equal(found.steps.actions, steps.actions)


def test_actions_are_clipped_and_the_source_may_observe_its_joints_or_not(rng: np.random.Generator) -> None:
    episodes = played(3, seeds=range(1))
    actions = rng.uniform(-3, 3, (50, 2))
    found = played_on_another_body(episodes, actions, arm(2), arm(3)).steps
    assert np.array_equal(found.actions, actions)
    bare = arm(2, proprioception=False)
    clipped = played_on_another_body(episodes, np.clip(actions, -1, 1), bare, arm(3, proprioception=False)).steps
    assert np.array_equal(found.next_obs, clipped.next_obs)


def test_the_angles_of_a_redundant_source_follow_from_step_to_step_and_each_episode_starts_anew(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = [], []

    def recording(env: Any, other: Any, state: Any, near: Any = None) -> Correspondence:
        found = corresponding_state(env, other, state, near)
        asked.append(near)
        answered.append(found.state[1:4])  # after the time
        return found

    monkeypatch.setattr(bodies, "corresponding_state", recording)
    episodes, actions = played(2, seeds=range(2)), rng.uniform(-1, 1, (100, 3))
    both = played_on_another_body(episodes, actions, arm(3), arm(2))
    assert len(asked) == 100 and [k for k in range(100) if asked[k] is None] == [0, 50]
    moves = [np.abs(answered[k] - answered[k - 1]).max() for k in range(100) if k not in (0, 50)]
    assert max(moves) < 0.3  # [rad], in 0.05 s
    assert all(np.array_equal(asked[k], answered[k - 1]) for k in range(100) if k not in (0, 50))
    second = played_on_another_body(episodes[1:], actions[50:], arm(3), arm(2))
    assert np.array_equal(both.steps.next_obs[50:], second.steps.next_obs)


@pytest.mark.parametrize(("source_links", "target_links"), [(3, 2), (2, 3)])
def test_labels_of_a_learned_inverse_dynamics_make_the_step_of_the_other_body(
    rng: np.random.Generator, source_links: int, target_links: int
) -> None:
    target = arm(target_links)
    task_dim = target.unwrapped.task_dim  # type: ignore[attr-defined]
    everything = transitions(played(target_links, seeds=range(100, 140), states=False))
    data = replace(everything, next_obs=everything.next_obs[:, :task_dim])
    episodes = played(target_links)
    actions = rng.uniform(-0.7, 0.7, (len(steps_of(episodes).obs), source_links))
    found = played_on_another_body(episodes, actions, arm(source_links, proprioception=False), target)
    assert found.reachable.mean() > 0.7

    model = MlpInverseDynamics(target_links, data.obs.shape[1], (64, 64), next_obs_dim=task_dim)
    errors = []
    for _ in range(2):  # untrained, then trained
        labels = ask_learned(model)(found.steps)
        errors.append(np.median(task_cycle_error(target, found.steps, labels)[found.reachable]))
        fit(model, data, FitSettings(num_updates=800), generator=torch.Generator().manual_seed(0))
    assert errors[1] < 0.25 and errors[1] < 0.5 * errors[0]


def test_states_that_the_source_cannot_take_are_flagged() -> None:
    """An arm of half the length reaches the fingers that are within 0.4 m."""
    fields = {"link_masses": (0.3, 0.2), "gear": (1.0, 0.5), "damping": (0.2, 0.1), "home": (0.0, 1.0)}
    short = arm(2, arm=fields | {"link_lengths": (0.2, 0.2), "joint_low": (-3.1, 0.0), "joint_high": (3.1, 3.1)})
    episodes = played(2)
    steps = steps_of(episodes)
    found = played_on_another_body(episodes, steps.actions, short, arm(2))
    radius = np.linalg.norm(steps.obs[:, :2], axis=1)
    assert not found.reachable[radius > 0.4].any() and (radius > 0.4).sum() > 5
    inside = (radius < 0.39) & (radius > 0.05)
    assert found.reachable[inside].mean() > 0.9 and inside.sum() > 20
    # Out of reach it is played all the same, from as near as the arm gets.
    assert np.isfinite(found.steps.next_obs).all()


def test_what_cannot_be_played_on_another_body_is_refused() -> None:
    episodes, bare = played(2, seeds=range(1)), played(2, seeds=range(1), states=False)
    actions = np.zeros((50, 3))
    with pytest.raises(ValueError, match="ArmPushEnv and ArmReachEnv"):
        played_on_another_body(episodes, actions, arm(3, "Push"), arm(2))
    with pytest.raises(ValueError, match="no physics states"):
        played_on_another_body(bare, actions, arm(3), arm(2))
    with pytest.raises(ValueError, match="is it another robot"):
        played_on_another_body(episodes, actions, arm(3), arm(4))
    with pytest.raises(TypeError, match="source_env must be a planar arm"):
        played_on_another_body(episodes, actions, gymnasium.make("Reacher-v5"), arm(2))
    for other in (actions[:-1], actions[:, :2]):
        with pytest.raises(ValueError, match=r"source_actions must have shape \(50, 3\)"):
            played_on_another_body(episodes, other, arm(3), arm(2))
    steps = played_on_another_body(episodes, actions, arm(3), arm(2)).steps
    with pytest.raises(ValueError, match="ask a learned model"):
        ask_exact(arm(2), num_threads=1)(steps)
