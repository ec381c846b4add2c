"""A policy over changes of the observation, carried out by inverse dynamics."""

import os
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.wrappers.recording import from_record, record_model
from generative_policies.wrappers.transform_wrapper import TransformWrapper
from generative_policies.wrappers.transforms import PlannedChange


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
        TypeError: If a space is not a Box, or ``inverse_dynamics`` is something else.
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
            spread=None if spread is None else np.asarray(spread).tolist(),
            block=block,
            _disable_deepcopy=True,
        )
        transform = PlannedChange(
            env.observation_space, env.action_space, from_record(inverse_dynamics), absolute, limit, spread, block
        )
        TransformWrapper.__init__(self, env, transform)
        self.inverse_dynamics = transform.inverse_dynamics
