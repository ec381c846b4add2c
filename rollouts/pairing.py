"""Pairs of source and target actions that do the same.

*Relabel* asks of recorded steps of one robot which action of the other makes the same step. *Match* plays the source's
action in the source's simulator, and asks which action of the target reaches the same next state.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from generative_policies.data import ActionPairDataset, TransitionDataset
from generative_policies.envs import ExactDynamics, ExactInverseDynamics, set_state
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.rollouts.episodes import Episode

Floats = NDArray[np.float64]
AskAction = Callable[[Sequence[Episode]], list[NDArray[Any]]]
"""Which action makes each recorded step, ``(T, action_dim)`` an episode."""


def relabel(target_data: TransitionDataset, source_inverse_dynamics: InverseDynamics) -> ActionPairDataset:
    """Ask of each target transition which source action makes the same step at home.

    Needs a common observation space and no target simulator.

    Args:
        target_data: Transitions of the target robot.
        source_inverse_dynamics: Inverse dynamics of the source robot.

    Returns:
        One pair a transition. A source action may lie outside the source's bounds where the target did what the
        source cannot.

    Raises:
        ValueError: If the observations have another width than the inverse dynamics.
    """
    return ActionPairDataset(
        episodes=target_data.episodes,
        obs=target_data.obs,
        source_actions=source_inverse_dynamics.predict(target_data.obs, target_data.next_obs),
        target_actions=target_data.actions,
    )


def ask_learned(inverse_dynamics: InverseDynamics) -> AskAction:
    """Ask a learned inverse dynamics, all steps of an episode in one batch."""
    dim = inverse_dynamics.next_obs_dim

    def ask(episodes: Sequence[Episode]) -> list[NDArray[Any]]:
        return [
            inverse_dynamics.predict(episode.observations[:-1], episode.observations[1:, :dim]) for episode in episodes
        ]

    return ask


def ask_exact(env: gymnasium.Env[Any, Any], num_threads: int, seed: int = 0) -> AskAction:
    """Ask a simulator, by the recorded physics states; the recorded action is where the search starts.

    Args:
        env: A MuJoCo env of the robot that is asked.
        num_threads: Threads; the answer does not depend on them.
        seed: Of the search.
    """
    solver = ExactInverseDynamics(env)

    def ask(episodes: Sequence[Episode]) -> list[NDArray[Any]]:
        found = []
        for episode in episodes:
            states = _states(episode, solver.dynamics)
            guesses = episode.actions if episode.actions.shape[1] == len(solver.dynamics.low) else None
            solution = solver.solve_batch(states[:-1], states[1:], guesses, num_threads=num_threads, seed=seed)
            found.append(np.asarray(solution.action))
        return found

    return ask


def played_at_home(
    episodes: Sequence[Episode], source_actions: Sequence[NDArray[Any]], source_env: gymnasium.Env[Any, Any]
) -> list[Episode]:
    """Return where source actions lead from the recorded states, each step in the source's simulator.

    Args:
        episodes: Of the target, with physics states.
        source_actions: ``(T, source_action_dim)`` an episode.
        source_env: A MuJoCo env of the source, whose states are those of the target.

    Returns:
        An episode of a single step for each step, whose second observation and state are those that the source reaches.

    Raises:
        ValueError: If states are missing, or of another size.
    """
    dynamics = ExactDynamics(source_env)
    source_env.reset(seed=0)
    steps = []
    for episode, actions in zip(episodes, source_actions, strict=True):
        states = _states(episode, dynamics)
        for t, action in enumerate(actions):
            set_state(source_env, states[t])
            reached = source_env.step(np.clip(action, dynamics.low, dynamics.high).astype(np.float32))[0]
            pair = np.stack([states[t], dynamics.step(states[t], action)])
            observations = np.stack([episode.observations[t], reached])
            steps.append(
                Episode(episode.seed, observations, episode.actions[t : t + 1], np.zeros(1), None, states=pair)
            )
    return steps


def cycle_error(
    env: gymnasium.Env[Any, Any],
    episodes: Sequence[Episode],
    actions: Sequence[NDArray[Any]],
    rng: np.random.Generator,
    num_steps: int = 200,
) -> float:
    """Return the median of |f(s, a) - s'| / |s' - s| of labels through the simulator that they are for.

    Args:
        env: A MuJoCo env of the robot whose actions the labels are.
        episodes: With physics states.
        actions: ``(T, action_dim)`` an episode, the labels.
        rng: Source of the choice of steps.
        num_steps: How many are tried.
    """
    dynamics = ExactDynamics(env)
    steps = [(k, t) for k, labels in enumerate(actions) for t in range(len(labels))]
    errors = []
    for index in rng.choice(len(steps), min(num_steps, len(steps)), replace=False):
        k, t = steps[index]
        states = _states(episodes[k], dynamics)
        label = np.clip(actions[k][t], dynamics.low, dynamics.high)
        errors.append(dynamics.cycle_error(states[t], label[None], states[t + 1])[0])
    return float(np.median(errors))


def _states(episode: Episode, dynamics: ExactDynamics) -> Floats:
    if episode.states is None:
        raise ValueError("the episodes have no physics states, which exact methods need: collect them with states")
    if episode.states.shape[1] != dynamics.state_size:
        raise ValueError(
            f"the episodes' physics states have {episode.states.shape[1]} entries, the simulator's "
            f"{dynamics.state_size}: is it another robot?"
        )
    return episode.states
