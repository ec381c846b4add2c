"""``InverseDynamicsWrapper`` for the ``VecEnv`` of Stable-Baselines3."""

import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.wrappers.inverse_dynamics import PlannedChange
from generative_policies.wrappers.vec_env.transform_wrapper import TransformVecEnvWrapper


class InverseDynamicsWrapper(TransformVecEnvWrapper):
    """Takes planned changes of the observations and sends many envs the actions that lead there.

    Arguments and behaviour are those of ``wrappers.InverseDynamicsWrapper`` around each env, bit for bit.

    Args:
        venv: The envs.
        inverse_dynamics: As there.
        absolute: As there.
        limit: As there.
        spread: As there.
        block: As there.
    """

    def __init__(
        self,
        venv: VecEnv,
        inverse_dynamics: InverseDynamics | str | os.PathLike[str],
        absolute: bool = False,
        limit: float = 3.0,
        spread: Sequence[float] | NDArray[Any] | None = None,
        *,
        block: int = 16,
    ) -> None:
        transform = PlannedChange(
            venv.observation_space, venv.action_space, inverse_dynamics, absolute, limit, spread, block
        )
        super().__init__(venv, transform)
        self.inverse_dynamics = transform.inverse_dynamics
