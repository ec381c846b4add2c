"""Policies that plan several steps at once."""

from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from numpy.typing import NDArray

from generative_policies.models.dimensions import check_dim
from generative_policies.policies.episode_memory import EpisodeMemory, Flags, State, fixed_noise
from generative_policies.policies.episodic_policy import EpisodicPolicy, Response, Rows


class ChunkPolicy(EpisodicPolicy):
    """Plans ``horizon`` steps from the last ``history`` observations, takes ``replan_interval`` of them, plans anew.

    A plan is dropped where its episode ends. Before the first step of an episode its first observation is repeated.

    Args:
        observation_space: A Box, or a Dict of Boxes.
        action_space: A Box.
        plan_dim: Numbers that a plan holds a step; actions, unless a subclass says otherwise.
        noise_dim: Standard normal numbers that a plan takes, 0 for a deterministic one.
        horizon: Steps that are planned.
        replan_interval: Steps that are taken before the next plan; all of them by default.
        history: Observations that are seen, the current one included.
        squash_output: Whether planned actions lie in [-1, 1], the scaled range of the action space.
        block: Models see batches padded to a multiple of this many rows.

    Raises:
        TypeError: If a space is another.
        ValueError: If a number is not positive, or ``replan_interval`` exceeds ``horizon``.
    """

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        *,
        plan_dim: int,
        noise_dim: int,
        horizon: int = 1,
        replan_interval: int | None = None,
        history: int = 1,
        squash_output: bool = False,
        block: int = 16,
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=squash_output, block=block)
        self.horizon = check_dim("horizon", horizon)
        self.replan_interval = horizon if replan_interval is None else check_dim("replan_interval", replan_interval)
        if self.replan_interval > horizon:
            raise ValueError(f"replan_interval must be at most horizon={horizon}, got {replan_interval}")
        self.history = check_dim("history", history)
        self.plan_dim = check_dim("plan_dim", plan_dim)
        self.noise_dim = check_dim("noise_dim", noise_dim, minimum=0)

    @abstractmethod
    def plan(self, rows: Rows, noise: NDArray[Any] | None) -> NDArray[Any]:
        """Plan the next steps.

        Args:
            rows: ``(padded, ...)`` by name, or ``(padded, history, ...)`` where the history is longer than one.
            noise: ``(padded, noise_dim)``, ``None`` where none is taken.

        Returns:
            ``(padded, horizon, plan_dim)``.
        """

    def act(self, rows: Rows, planned: NDArray[Any]) -> NDArray[Any]:
        """Return the actions ``(rows, action_dim)`` of one planned step.

        Args:
            rows: ``(rows, ...)`` by name, the current observations.
            planned: ``(rows, plan_dim)``, the step.
        """
        return planned

    def initial_memory(self, memory: EpisodeMemory) -> State:
        """Return the memory of rows that have no plan yet, see ``EpisodicPolicy``."""
        count = len(memory.seeds)
        taken = np.zeros(count, dtype=np.int64)
        plans = np.zeros((count, self.horizon, self.plan_dim), dtype=np.float32)
        return (taken, plans, *self.no_history(count))

    def respond(self, rows: Rows, memory: EpisodeMemory, starts: Flags, state: State, deterministic: bool) -> Response:
        """Take the next planned step, planning anew where it is due, see ``EpisodicPolicy``."""
        taken, plans = state[0], state[1]
        seen = self.remember(rows, starts, state[2:])
        due = starts | (taken >= self.replan_interval)
        if due.any():
            noise = None
            if self.noise_dim:
                if deterministic:
                    noise = np.tile(fixed_noise(self.noise_dim), (int(due.sum()), 1))
                else:
                    noise, memory = memory.draw(due, self.noise_dim)
            plans, taken = plans.copy(), np.where(due, 0, taken)
            plans[due] = self.plan_rows({name: values[due] for name, values in seen.items()}, noise)
        actions = self.act(rows, plans[np.arange(len(taken)), taken])
        return Response(actions, memory, (taken + 1, plans, *(seen.values() if self.history > 1 else ())))

    def plan_rows(self, rows: Rows, noise: NDArray[Any] | None) -> NDArray[Any]:
        """Return plans ``(rows, horizon, plan_dim)`` of rows that need not be padded; arguments as in ``plan``."""
        count = len(next(iter(rows.values())))
        return self.plan(self.padded(rows), None if noise is None else self.padded(noise))[:count]

    def remember(self, rows: Rows, starts: Flags, history: State) -> Rows:
        """Return what is seen: the rows themselves, or the last ``history`` of them, ``(rows, history, ...)``."""
        if self.history == 1:
            return rows
        seen = {}
        for (name, values), before in zip(rows.items(), history, strict=True):
            window = np.concatenate([before[:, 1:], values[:, None].astype(before.dtype)], axis=1)
            window[starts] = window[starts][:, -1:]  # the first observation, as often as it takes
            seen[name] = window
        return seen

    def no_history(self, count: int) -> State:
        """Return what rows have seen before their first step, nothing at all where the history is one."""
        if self.history == 1:
            return ()
        space: Any = self.observation_space
        entries = space.spaces.values() if hasattr(space, "spaces") else [space]
        return tuple(np.zeros((count, self.history, *entry.shape), dtype=entry.dtype) for entry in entries)
