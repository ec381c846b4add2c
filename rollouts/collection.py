"""Collecting random data as fast as MuJoCo steps: whole episodes of open-loop actions on all cores."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import mujoco.rollout
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from generative_policies.data import TransitionDataset, episode_generator
from generative_policies.data.episode_generator import Stream
from generative_policies.envs import ExactDynamics, PlanarArmEnv, get_state, set_state
from generative_policies.envs.rewired_motors import rewirings
from generative_policies.rollouts.episodes import MakeEnv

Floats = NDArray[np.float64]
PHYSICS = mujoco.mjtState.mjSTATE_FULLPHYSICS
EPISODES_A_CALL = 16  # as many as keep all cores busy; their substeps are in memory at once


@dataclass(frozen=True)
class PhysicsEpisodes:
    """Episodes of open-loop actions with their physics states.

    States are ``mjSTATE_FULLPHYSICS``, time, positions, velocities and activations, but for the initial ones.

    Attributes:
        seeds: ``(episodes,)``, of the resets.
        initial_states: ``(episodes, state_size)``, ``mjSTATE_INTEGRATION`` after the reset, goals included.
        states: ``(episodes, T + 1, physics_size)``.
        last_substeps: ``(episodes, T, physics_size)``, before the last simulator step of each env step: there MuJoCo
            computed the positions of bodies and the contact forces that Gymnasium's envs observe.
        actions: ``(episodes, T, action_dim)``.
    """

    seeds: NDArray[np.int64]
    initial_states: Floats
    states: Floats
    last_substeps: Floats
    actions: Floats

    def transitions(self, env: gymnasium.Env[Any, Any]) -> TransitionDataset:
        """Return transitions of what the env observes.

        Planar arms observe an episode at once; every other env is put into one state after the other, which takes
        longer than the physics.

        Args:
            env: An env as those that were collected from; it is left in another state.

        Raises:
            TypeError: If the env is no Gymnasium ``MujocoEnv``.
        """
        return TransitionDataset.from_episodes(
            [self._observe(env, k) for k in range(len(self.seeds))], list(self.actions)
        )

    def _observe(self, env: gymnasium.Env[Any, Any], k: int) -> Floats:
        base: Any = env.unwrapped
        set_state(env, self.initial_states[k])
        if isinstance(base, PlanarArmEnv):
            velocities = 1 + base.model.nq
            qpos, qvel = self.states[k, :, 1:velocities], self.states[k, :, velocities : velocities + base.model.nv]
            return base.observation(qpos, qvel, np.broadcast_to(base.goal, (len(qpos), 2)))
        if not hasattr(base, "_get_obs"):
            raise TypeError(f"{base!r} has no _get_obs, which Gymnasium's MuJoCo envs observe with")
        model, data = base.model, base.data
        observations = [np.array(base._get_obs())]
        for before, action, after in zip(self.last_substeps[k], self.actions[k], self.states[k, 1:], strict=True):
            mujoco.mj_setState(model, data, before, PHYSICS)
            data.ctrl[:] = action
            mujoco.mj_step(model, data)
            mujoco.mj_rnePostConstraint(model, data)
            mujoco.mj_setState(model, data, after, PHYSICS)
            observations.append(np.array(base._get_obs()))
        return np.stack(observations)


def collect_random(
    make_env: MakeEnv,
    seeds: Sequence[int],
    num_steps: int,
    *,
    num_threads: int | None = None,
    progress: str | None = None,
) -> PhysicsEpisodes:
    """Collect episodes of uniformly random actions, one a seed, through ``mujoco.rollout``.

    The physics are those of the env, stepped with the same actions. What the env adds in Python is not there: rewards,
    and episodes that end early; a walker that has fallen lies on.

    Args:
        make_env: Makes an env whose actions are its MuJoCo model's controls.
        seeds: One reset seed an episode; actions depend on it, too.
        num_steps: Env steps T of every episode.
        num_threads: Threads; all cores by default. The result does not depend on it.
        progress: Name of a progress bar, none by default.

    Returns:
        The actions and physics states of all steps.

    Raises:
        TypeError: If it is no such env, or a wrapper changes what it takes or observes.
        ValueError: If there is no seed, no step or no thread.
    """
    threads = os.cpu_count() or 1 if num_threads is None else num_threads
    if len(seeds) == 0 or num_steps < 1 or threads < 1:
        raise ValueError(
            f"expected at least one seed, step and thread, got {len(seeds)} seeds, num_steps={num_steps}, "
            f"num_threads={num_threads}"
        )
    env = make_env()
    base = env.unwrapped
    if rewirings(env) or env.action_space != base.action_space or env.observation_space != base.observation_space:
        raise TypeError(f"wrappers that change actions or observations are not stepped in open loop, got {env}")
    dynamics = ExactDynamics(env)
    model, frame_skip = dynamics.model, dynamics.frame_skip
    scratch = [mujoco.MjData(model) for _ in range(threads)]
    initial_states = np.empty((len(seeds), dynamics.state_size))
    states = np.empty((len(seeds), num_steps + 1, mujoco.mj_stateSize(model, PHYSICS)))
    last_substeps = np.empty((len(seeds), num_steps, states.shape[-1]))
    warm_starts = np.empty((len(seeds), model.nv))
    actions = np.empty((len(seeds), num_steps, model.nu))
    data: Any = base.data  # type: ignore[attr-defined]
    for k, seed in enumerate(seeds):
        env.reset(seed=int(seed))
        initial_states[k] = get_state(env)
        mujoco.mj_getState(model, data, states[k, 0], PHYSICS)
        warm_starts[k] = data.qacc_warmstart
        # As the env gets them: float32 in its bounds.
        draw = episode_generator(int(seed), stream=Stream.RANDOM_ACTIONS).uniform(
            dynamics.low, dynamics.high, (num_steps, model.nu)
        )
        actions[k] = draw.astype(np.float32)
    with (
        mujoco.rollout.Rollout(nthread=threads) as pool,
        tqdm(total=len(seeds), desc=progress, disable=progress is None, unit="episode") as bar,
    ):
        for first in range(0, len(seeds), EPISODES_A_CALL):
            rows = slice(first, first + EPISODES_A_CALL)
            substeps, _ = pool.rollout(
                model,
                scratch,
                states[rows, 0],
                np.repeat(actions[rows], frame_skip, axis=1),  # each held for frame_skip steps
                initial_warmstart=warm_starts[rows],
            )
            states[rows, 1:] = substeps[:, frame_skip - 1 :: frame_skip]
            last_substeps[rows] = states[rows, :-1] if frame_skip == 1 else substeps[:, frame_skip - 2 :: frame_skip]
            bar.update(len(substeps))
    env.close()
    return PhysicsEpisodes(np.asarray(seeds, dtype=np.int64), initial_states, states, last_substeps, actions)
