"""A policy over changes of the observation, carried out by inverse dynamics."""

import os
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from generative_policies.data.arrays import as_array
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.models.dimensions import check_flag, check_number
from generative_policies.policies.observation_map import Rows
from generative_policies.wrappers.recording import from_record, record_model
from generative_policies.wrappers.transform_wrapper import TransformWrapper
from generative_policies.wrappers.transforms import ActionTransform, bounded_box, check_observations, loaded_model


class PlannedChange(ActionTransform):
    """Planned changes of the observation become actions, see ``InverseDynamicsWrapper``."""

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        inverse_dynamics: InverseDynamics | str | os.PathLike[str],
        absolute: bool,
        limit: float,
        spread: Sequence[float] | NDArray[Any] | None,
        block: int,
    ) -> None:
        target = bounded_box("the env's action space", action_space)
        self.inverse_dynamics = loaded_model(inverse_dynamics, InverseDynamics, "inverse_dynamics")
        model = self.inverse_dynamics
        check_observations(model, "inverse dynamics", observation_space)
        if model.action_dim != target.shape[0]:
            raise ValueError(
                f"the inverse dynamics gives actions of width {model.action_dim}, the env takes {target.shape[0]}"
            )
        limit = check_number("limit", limit, positive=True, below=float(np.finfo(np.float32).max))
        check_flag("absolute", absolute)
        # What is planned: the leading part of a vector, or the vectors of a dictionary, in the order of their names.
        if isinstance(observation_space, Dict):
            self.entries = [
                name
                for name, space in observation_space.items()
                if len(space.shape or ()) == 1 and np.issubdtype(space.dtype, np.floating)
            ]
            self.widths = [int(np.prod(observation_space[name].shape or ())) for name in self.entries]
        else:
            if not np.issubdtype(observation_space.dtype, np.floating):
                raise TypeError(f"changes are planned of observations in floating point, got {observation_space}")
            self.entries, self.widths = [], [model.next_obs_dim]
        size = sum(self.widths)
        center = np.zeros(size)
        statistics = model.observation_normalizer if absolute else model.change_normalizer
        if absolute and (statistics is None or spread is not None):
            raise ValueError("absolute is for observations that are vectors, in units of the model's own statistics")
        if statistics is None and spread is None:
            raise ValueError(
                f"spread must be given for dictionaries, {size} numbers: how much the entries of "
                f"{', '.join(self.entries)} change in a step"
            )
        if absolute and statistics is not None:
            center = statistics.mean.double().cpu().numpy()[:size]
        if spread is None and statistics is not None:
            spread = statistics.std.double().cpu().numpy()[:size]
        scale = as_array("spread", spread)
        known = scale.shape == (size,) and scale.dtype.kind in "fiu"
        if not known or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"spread must be {size} positive numbers, got {spread!r:.200}")
        scale = scale.astype(np.float64)
        self.absolute, self.center, self.scale = absolute, center, scale
        self.noise_dim = model.noise_dim
        super().__init__(observation_space, target, Box(-limit, limit, (size,), np.float32), block)

    def respond(
        self, observations: Rows, actions: NDArray[Any], noise: NDArray[Any] | None, starts: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Answer with the action that leads to the plan; ``info`` holds the planned change."""
        change = self.center + self.scale * actions
        if isinstance(observations, dict):
            parts = np.split(change, np.cumsum(self.widths)[:-1], axis=1)
            planned = dict(observations)
            for name, part in zip(self.entries, parts, strict=True):
                planned[name] = (observations[name] + part).astype(observations[name].dtype)
            return self.inverse_dynamics.predict(observations, planned, noise=noise), {"planned_change": change}
        here = observations[:, : change.shape[1]]
        goal = change if self.absolute else here + change
        answers = self.inverse_dynamics.predict(observations, goal.astype(observations.dtype), noise=noise)
        return answers, {"planned_change": goal - here}


class InverseDynamicsWrapper(TransformWrapper, RecordConstructorArgs):
    """Takes a planned change of the observation and sends the env the action that leads there.

    The action is the change until the next step, in units of its one-step spread: 1 in an entry asks for a change of
    one standard deviation of what the steps of the training data change it by, 0 for none. It lies in [-limit, limit].
    With ``absolute`` it is the next observation itself, in standard deviations around the mean of the observations;
    most of those cannot be reached in one step.

    ``info`` holds ``"planned_change"``, in the units of the observation, and ``"target_action"``, what the env got.

    Args:
        env: An env with a flat, bounded action space, and observations that the model takes.
        inverse_dynamics: An ``InverseDynamics``, or the path of a checkpoint of one. A path makes ``env.spec``
            recordable. What is planned is the leading part that it takes of the next observation; of dictionaries, all
            entries that are vectors of floats, in the order of their names, the others staying as they are.
        absolute: Whether the action is the next observation instead of the change. Vectors only.
        limit: Bound of the action.
        spread: The units of the change, one a planned entry; those of the model's training data by default. Needed for
            dictionaries.
        block: The model sees a batch padded to this many rows; 1 is fastest.

    Raises:
        TypeError: If a space is not a Box, or ``inverse_dynamics``, ``absolute`` or ``limit`` is something else.
        ValueError: If widths do not fit, the action space is unbounded, or ``limit`` or ``spread`` is not positive.

    Example:
        >>> from generative_policies.inverse_dynamics import MlpInverseDynamics
        >>> env = InverseDynamicsWrapper(gymnasium.make("Pusher-v5"), MlpInverseDynamics(action_dim=7, obs_dim=23))
        >>> env.action_space.shape
        (23,)
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, NDArray[Any]],
        inverse_dynamics: InverseDynamics | str | os.PathLike[str],
        absolute: bool = False,
        limit: float = 3.0,
        spread: Sequence[float] | NDArray[Any] | None = None,
        *,
        block: int = 16,
    ) -> None:
        RecordConstructorArgs.__init__(
            self,
            inverse_dynamics=record_model(inverse_dynamics, "generative_policies.checkpoints.save"),
            absolute=absolute,
            limit=limit,
            spread=None if spread is None else as_array("spread", spread).tolist(),
            block=block,
            _disable_deepcopy=True,
        )
        transform = PlannedChange(
            env.observation_space, env.action_space, from_record(inverse_dynamics), absolute, limit, spread, block
        )
        TransformWrapper.__init__(self, env, transform)
        self.inverse_dynamics = transform.inverse_dynamics
