"""Skills from states alone: a planner that saw no action, and inverse dynamics that saw no demonstration."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from generative_policies.data import Demonstrations, NextStateDataset, TransitionDataset
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import FlowPlanner, InverseDynamicsPolicy
from generative_policies.rollouts import random_act, run_episodes, source_act, transitions
from generative_policies.training import FitSettings, fit, initial_weights

UPDATES = FitSettings(num_updates=1_500)


class Point(gymnasium.Env[Any, Any]):
    """A point that its motors push about; the observation ends with an entry of its own, which means nothing."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, motors: Any = ((1, 0), (0, 1)), extra: float = 0.0) -> None:
        self.motors, self.extra = np.asarray(motors), extra

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.state, self.steps = self.np_random.uniform(-1, 1, 2), 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.state = self.state + 0.2 * self.motors @ action
        self.steps += 1
        return self.observe(), -float(np.linalg.norm(self.state)), False, self.steps == 20, {}

    def observe(self) -> Any:
        return np.array([*self.state, self.extra + 0.1 * self.steps])


def homing(observations: Any, contexts: Any) -> Any:
    """The expert of the robot with plain motors."""
    return np.clip(-2 * observations[:, :2], -1, 1).astype(np.float32)


def test_a_skill_moves_to_a_robot_with_other_motors_by_states_alone() -> None:
    shown = run_episodes(Point, homing, range(40))
    states = Demonstrations.from_episodes([(episode.observations[:, :2], None) for episode in shown])
    generator = torch.Generator().manual_seed(0)
    with initial_weights(generator):
        planner = FlowPlanner(2, (64, 64))
    fit(planner, NextStateDataset.from_demonstrations(states), UPDATES, generator=generator)

    def crossed() -> Point:
        return Point([[0.0, -1.0], [0.8, 0.0]], extra=3.0)

    own = transitions(run_episodes(crossed, random_act(Point.action_space), range(100, 140)))
    with initial_weights(generator):
        inverse_dynamics = MlpInverseDynamics(2, 3, (64, 64), next_obs_dim=2)
    # Of what comes next, the leading part, which both robots have.
    data = TransitionDataset(own.episodes, own.obs, own.next_obs[:, :2], own.actions)
    fit(inverse_dynamics, data, UPDATES, generator=generator)
    policy = InverseDynamicsPolicy(Point.observation_space, Point.action_space, planner, inverse_dynamics)

    seeds = range(1_000, 1_020)
    returns = {
        name: np.mean([episode.total_reward for episode in run_episodes(make, act, seeds)])
        for name, make, act in (
            ("expert", Point, homing),
            ("expert on the other robot", crossed, homing),
            ("states alone", crossed, source_act(policy, deterministic=False)),
        )
    }
    assert returns["expert on the other robot"] < 3 * returns["expert"]  # it circles
    assert returns["states alone"] > 1.25 * returns["expert"]
