"""``InverseDynamicsWrapper`` for Gymnasium's vector envs."""

import os
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.wrappers.inverse_dynamics import PlannedChange
from generative_policies.wrappers.vector.transform_wrapper import TransformVectorWrapper


class InverseDynamicsWrapper(TransformVectorWrapper):
    """Takes planned changes of the observations and sends many envs the actions that lead there.

    Arguments and behaviour are those of ``wrappers.InverseDynamicsWrapper`` around each env, bit for bit.

    Args:
        env: A vector env.
        inverse_dynamics: As there.
        absolute: As there.
        limit: As there.
        spread: As there.
        block: As there.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        inverse_dynamics: InverseDynamics | str | os.PathLike[str],
        absolute: bool = False,
        limit: float = 3.0,
        spread: Sequence[float] | NDArray[Any] | None = None,
        *,
        block: int = 16,
    ) -> None:
        transform = PlannedChange(
            env.single_observation_space, env.single_action_space, inverse_dynamics, absolute, limit, spread, block
        )
        super().__init__(env, transform)
        self.inverse_dynamics = transform.inverse_dynamics
