"""Pairs of source and target actions that do the same.

*Relabel* asks of recorded steps of one robot which action of the other makes the same step. *Match* plays the source's
action in the source's simulator, and asks which action of the target reaches the same next state; ``bodies`` does so
where the bodies differ.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from generative_policies.data import ActionPairDataset, TransitionDataset
from generative_policies.envs import (
    ExactDynamics,
    ExactInverseDynamics,
    set_state,
)
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.rollouts.episodes import Episode

Floats = NDArray[np.float64]
SOLVED_AT_ONCE = 256


class Steps(NamedTuple):
    """Steps that somebody made, of whom another is asked how to make them.

    Attributes:
        obs: ``(rows, obs_dim)``.
        next_obs: ``(rows, next_obs_dim)``: like ``obs``, or its leading part where no more is asked for.
        actions: ``(rows, action_dim)``, of whoever made them; where a search may start.
        states: ``(rows, state_size)``, physics states, where they are known.
        next_states: ``(rows, state_size)``.
    """

    obs: NDArray[Any]
    next_obs: NDArray[Any]
    actions: NDArray[Any]
    states: Floats | None
    next_states: Floats | None


AskAction = Callable[[Steps], NDArray[Any]]
"""Which actions ``(rows, action_dim)`` make these steps."""


def relabel(
    target_data: TransitionDataset, source_inverse_dynamics: InverseDynamics, source_observation: int | None = None
) -> ActionPairDataset:
    """Ask of each target transition which source action makes the same step at home.

    Needs a common observation space, or a common leading part of it, and no target simulator.

    Args:
        target_data: Transitions of the target robot.
        source_inverse_dynamics: Inverse dynamics of the source robot.
        source_observation: How many leading entries of the target's observation the source's inverse dynamics sees,
            such as an arm's ``task_dim``; all of them by default.

    Returns:
        One pair a transition, with the target's whole observation. A source action may lie outside the source's bounds
        where the target did what the source cannot.

    Raises:
        ValueError: If the observations, or their leading part, have another width than the inverse dynamics.
    """
    obs, next_obs = target_data.obs, target_data.next_obs
    if source_observation is not None:
        model, widths = source_inverse_dynamics, (obs.shape[1], next_obs.shape[1])
        if source_observation != model.obs_dim or model.obs_dim > widths[0] or model.next_obs_dim > widths[1]:
            raise ValueError(
                f"source_observation must be the {model.obs_dim} entries that the source's inverse dynamics sees, "
                f"before and {model.next_obs_dim} after, among the target's {widths[0]} and {widths[1]}; "
                f"got {source_observation}"
            )
        obs, next_obs = obs[:, : model.obs_dim], next_obs[:, : model.next_obs_dim]
    return ActionPairDataset(
        episodes=target_data.episodes,
        obs=target_data.obs,
        source_actions=source_inverse_dynamics.predict(obs, next_obs),
        target_actions=target_data.actions,
    )


def steps_of(episodes: Sequence[Episode]) -> Steps:
    """Return the steps of episodes, end to end."""
    states = [episode.states for episode in episodes]
    known = [state for state in states if state is not None]
    complete = len(known) == len(states)
    return Steps(
        obs=np.concatenate([episode.observations[:-1] for episode in episodes]),
        next_obs=np.concatenate([episode.observations[1:] for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        states=np.concatenate([state[:-1] for state in known]) if complete else None,
        next_states=np.concatenate([state[1:] for state in known]) if complete else None,
    )


def played_at_home(
    episodes: Sequence[Episode], source_actions: NDArray[Any], source_env: gymnasium.Env[Any, Any]
) -> Steps:
    """Return where source actions lead from the recorded states, each step in the source's simulator.

    Args:
        episodes: Of the target, with physics states.
        source_actions: ``(rows, source_action_dim)``, one a step, end to end.
        source_env: A MuJoCo env of the source, whose states are those of the target.

    Raises:
        ValueError: If states are missing, or of another size.
    """
    dynamics = ExactDynamics(source_env)
    steps = steps_of(episodes)
    states, _ = _states(steps, dynamics)
    source_env.reset(seed=0)
    reached, next_states = [], []
    for state, action in tqdm(list(zip(states, source_actions, strict=True)), desc="play at home", unit="step"):
        set_state(source_env, state)
        clipped = np.clip(action, dynamics.low, dynamics.high).astype(np.float32)
        reached.append(np.array(source_env.step(clipped)[0]))
        next_states.append(dynamics.step(state, clipped))
    return steps._replace(next_obs=np.stack(reached), actions=source_actions, next_states=np.stack(next_states))


def ask_learned(inverse_dynamics: InverseDynamics) -> AskAction:
    """Ask a learned inverse dynamics, all steps in one batch."""
    dim = inverse_dynamics.next_obs_dim

    def ask(steps: Steps) -> NDArray[Any]:
        answer: NDArray[Any] = inverse_dynamics.predict(steps.obs, steps.next_obs[:, :dim])
        return answer

    return ask


def ask_exact(env: gymnasium.Env[Any, Any], num_threads: int, seed: int = 0) -> AskAction:
    """Ask a simulator, by the physics states; the actions of who made the steps are where the search starts.

    Args:
        env: A MuJoCo env of the robot that is asked.
        num_threads: Threads; the answer does not depend on them.
        seed: Of the search.
    """
    solver = ExactInverseDynamics(env)

    def ask(steps: Steps) -> NDArray[Any]:
        states, next_states = _states(steps, solver.dynamics)
        guesses = steps.actions if steps.actions.shape[1] == len(solver.dynamics.low) else None
        found = []
        for first in tqdm(range(0, len(states), SOLVED_AT_ONCE), desc="solve", unit="batch"):
            rows = slice(first, first + SOLVED_AT_ONCE)
            solution = solver.solve_batch(
                states[rows],
                next_states[rows],
                None if guesses is None else guesses[rows],
                num_threads=num_threads,
                seed=seed,
            )
            found.append(np.asarray(solution.action))
        return np.concatenate(found)

    return ask


def cycle_error(
    env: gymnasium.Env[Any, Any], steps: Steps, labels: NDArray[Any], rng: np.random.Generator, num_steps: int = 200
) -> float:
    """Return the median of ``|f(s, a) - s'| / |s' - s|`` of labels through the simulator that they are for.

    Args:
        env: A MuJoCo env of the robot whose actions the labels are.
        steps: With physics states.
        labels: ``(rows, action_dim)``.
        rng: Source of the choice of steps.
        num_steps: How many are tried.
    """
    dynamics = ExactDynamics(env)
    states, next_states = _states(steps, dynamics)
    rows = rng.choice(len(labels), min(num_steps, len(labels)), replace=False)
    clipped = np.clip(labels, dynamics.low, dynamics.high)
    return float(np.median([dynamics.cycle_error(states[k], clipped[k][None], next_states[k])[0] for k in rows]))


def _states(steps: Steps, dynamics: ExactDynamics) -> tuple[Floats, Floats]:
    before = states_before(steps, dynamics)
    if steps.next_states is None:
        raise ValueError("the steps have no physics states after them, which exact methods need: ask a learned model")
    return before, steps.next_states


def states_before(steps: Steps, dynamics: ExactDynamics) -> Floats:
    """Return the states ``(rows, state_size)`` that steps begin in.

    Raises:
        ValueError: If they are missing, or of another simulator.
    """
    if steps.states is None:
        raise ValueError("the episodes have no physics states, which simulators need: collect them with states")
    if steps.states.shape[1] != dynamics.state_size:
        raise ValueError(
            f"the episodes' physics states have {steps.states.shape[1]} entries, the simulator's "
            f"{dynamics.state_size}: is it another robot?"
        )
    return steps.states
