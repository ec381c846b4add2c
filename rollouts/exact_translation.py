"""Translation through both simulators: a control arm, not a method, since no real robot has one."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from generative_policies.envs import ExactDynamics, ExactInverseDynamics, check_control_periods, get_state


class ExactTranslationWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays a source action in the source's simulator, and sends the target the action that reaches the same state.

    It matches single steps as well as the target's motors can; it is no ceiling of what a translator may reach.

    Args:
        env: The target, a MuJoCo env.
        source_env: The source, with the same states.

    Raises:
        ValueError: If states or control periods differ.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], source_env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        check_control_periods(source_env, env)
        self.action_space = source_env.action_space
        self._source = ExactDynamics(source_env)
        self._target = ExactInverseDynamics(env, num_starts=3)
        if self._source.state_size != self._target.dynamics.state_size:
            raise ValueError(
                f"exact matching needs the same states on both robots, the source's have {self._source.state_size} "
                f"entries, the target's {self._target.dynamics.state_size}"
            )

    def step(self, action: NDArray[Any]) -> Any:
        """Match an action, and step the target."""
        state = get_state(self.env)
        clipped = np.clip(action, self._source.low, self._source.high)
        goal = self._source.step(state, clipped)
        target = self._target.dynamics
        same_motors = target.model.nu == self._source.model.nu
        # From the same controls: elsewhere, few starts may end in another contact.
        guess = target.action_of(self._source.controls(clipped)) if same_motors else None
        solution = self._target.solve(state, goal, guess)
        space: Any = self.env.action_space
        return self.env.step(np.clip(solution.action, space.low, space.high).astype(space.dtype))
