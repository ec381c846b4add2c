"""A policy of two halves: what to see next, and which action leads there."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray

from generative_policies.data import join_vectors
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.models.dimensions import check_part
from generative_policies.policies.chunk_policy import ChunkPolicy
from generative_policies.policies.episodic_policy import Rows
from generative_policies.policies.planner import FlowPlanner


class InverseDynamicsPolicy(ChunkPolicy):
    """A planner proposes the next observations, inverse dynamics answers with the actions.

    The planner learns from demonstrations without actions, the inverse dynamics from any other data of this robot.
    Where a plan has several steps, each is answered from what the robot observes then, not from what was planned.

    The planner may be another robot's: it sees and plans the leading ``planner.obs_dim`` entries of the observation,
    which then have to mean the same on both, and the inverse dynamics has as ``next_obs_dim`` the width of its plans.

    Of dictionaries, what is seen and planned are the vectors of floats, joined in the order of their names, see
    ``data.join_vectors``. An inverse dynamics with an encoder gets dictionaries, whose images stay as they are.

    Args:
        observation_space: A Box with one axis, or a Dict.
        action_space: A Box.
        planner: The planner; its noise, as that of the inverse dynamics, is the episode's own.
        inverse_dynamics: The inverse dynamics of this robot.
        replan_interval: Steps that are taken before the next plan; all that are planned by default.
        history: Observations that the planner sees, side by side, the current one first, see ``NextStateDataset``.
        block: Models see batches padded to a multiple of this many rows; 1 is fastest.

    Raises:
        TypeError: If a space or a model is another.
        ValueError: If widths do not fit.

    Example:
        >>> import gymnasium
        >>> from generative_policies.inverse_dynamics import MlpInverseDynamics
        >>> env = gymnasium.make("Pendulum-v1")
        >>> policy = InverseDynamicsPolicy(
        ...     env.observation_space,
        ...     env.action_space,
        ...     planner=FlowPlanner(obs_dim=3),
        ...     inverse_dynamics=MlpInverseDynamics(action_dim=1, obs_dim=3),
        ... )
        >>> policy.predict(env.reset(seed=0)[0])[0].shape
        (1,)
    """

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        planner: FlowPlanner,
        inverse_dynamics: InverseDynamics,
        *,
        replan_interval: int | None = None,
        history: int = 1,
        block: int = 16,
    ) -> None:
        check_part("planner", planner, FlowPlanner)
        check_part("inverse_dynamics", inverse_dynamics, InverseDynamics)
        entries = dict(observation_space.items()) if isinstance(observation_space, Dict) else {"": observation_space}
        # What is planned, by name; other entries are seen alone.
        self.widths = {
            name: space.shape[0]
            for name, space in sorted(entries.items())
            if isinstance(space, Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
        }
        if not self.widths:
            raise TypeError(
                f"observation_space must be a Box with one axis, or a Dict of some, got {observation_space}"
            )
        # A plan holds the observations and the noise of the actions that lead there.
        super().__init__(
            observation_space,
            action_space,
            plan_dim=planner.next_obs_dim + inverse_dynamics.noise_dim,
            noise_dim=planner.noise_dim + planner.horizon * inverse_dynamics.noise_dim,
            horizon=planner.horizon,
            replan_interval=replan_interval,
            history=history,
            block=block,
        )
        width, encoder = sum(self.widths.values()), inverse_dynamics.observation_encoder
        planned = planner.next_obs_dim
        found = {
            "the planner sees as many entries at most as the robot observes": (
                planner.obs_dim % history == 0 and planned <= planner.obs_dim // history <= width
            ),
            "the inverse dynamics sees what the robot observes": (
                inverse_dynamics.obs_dim == width if encoder is None else planned == width
            ),
            "the inverse dynamics' next observation is what is planned": (
                encoder is not None or inverse_dynamics.next_obs_dim == planned
            ),
            "the inverse dynamics gives the robot's actions": inverse_dynamics.action_dim == self.action_dim,
        }
        if wrong := [rule for rule, kept in found.items() if not kept]:
            raise ValueError(
                f"widths do not fit, for {'; '.join(wrong)}: the robot observes {width} and takes actions of "
                f"{self.action_dim}, the planner takes {planner.obs_dim} to {planner.next_obs_dim}, the inverse "
                f"dynamics {inverse_dynamics.obs_dim} and {inverse_dynamics.next_obs_dim} to "
                f"{inverse_dynamics.action_dim}"
            )
        self.planner = planner
        self.inverse_dynamics = inverse_dynamics

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments after the two spaces."""
        return {
            "planner": self.planner,
            "inverse_dynamics": self.inverse_dynamics,
            "replan_interval": self.replan_interval,
            "history": self.history,
            "block": self.block,
        }

    def plan(self, rows: Rows, noise: NDArray[Any] | None) -> NDArray[Any]:
        """Plan observations, see ``ChunkPolicy``."""
        assert noise is not None  # the planner takes some
        planner_noise, action_noise = np.split(noise, [self.planner.noise_dim], axis=1)
        seen = self.planner.obs_dim // self.history
        if self.history == 1:
            obs = join_vectors(rows)[:, :seen]
        else:  # the current one first
            frames = [join_vectors({name: values[:, k] for name, values in rows.items()}) for k in range(self.history)]
            obs = np.concatenate([frame[:, :seen] for frame in frames[::-1]], axis=1)
        planned = self.planner.predict(obs, noise=planner_noise.reshape(-1, *self.planner.flow.sample_shape))
        parts = [
            planned.reshape(len(obs), self.horizon, self.planner.next_obs_dim),
            action_noise.reshape(len(obs), self.horizon, self.inverse_dynamics.noise_dim),
        ]
        return np.concatenate(parts, axis=2)

    def act(self, rows: Rows, planned: NDArray[Any]) -> NDArray[Any]:
        """Return the actions that lead to a planned observation, see ``ChunkPolicy``."""
        padded = self.padded(rows)
        next_obs, noise = np.split(self.padded(planned), [self.planner.next_obs_dim], axis=1)
        if self.inverse_dynamics.observation_encoder is None:
            obs: Any = join_vectors(padded)
        else:
            obs = padded
            parts = np.split(next_obs, np.cumsum(list(self.widths.values()))[:-1], axis=1)
            planned_entries = {
                name: part.astype(padded[name].dtype) for name, part in zip(self.widths, parts, strict=True)
            }
            next_obs = padded | planned_entries
        actions: NDArray[Any] = self.inverse_dynamics.predict(
            obs, next_obs, noise=noise if self.inverse_dynamics.noise_dim else None
        )
        return actions[: len(planned)]
