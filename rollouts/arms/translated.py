"""From a translator to an arm that can be evaluated."""

import time
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from generative_policies.action_translation import ActionTranslator, FlowActionTranslator
from generative_policies.checkpoints import save
from generative_policies.envs import ExactDynamics, get_state, set_state
from generative_policies.inverse_dynamics import InverseDynamics
from generative_policies.rollouts.aggregation import Aggregated
from generative_policies.rollouts.arms.study import Study
from generative_policies.rollouts.arms.task import ArmTask, Trained
from generative_policies.rollouts.episodes import MakeEnv, count_steps
from generative_policies.rollouts.source_policies import SourcePolicy
from generative_policies.wrappers import ActionTranslationWrapper


def translated(study: Study, found: Aggregated) -> Trained:
    """Save a translator, and return its arm: the source policy in the wrapped target."""
    task = study.task
    save(found.translator, study.folder / f"{task.arm}-{task.seed}")
    details: dict[str, Any] = {
        "target_steps": count_steps(found.episodes),
        "milliseconds": milliseconds(found.translator, found.episodes[0].observations[0]),
        "num_steps": found.translator.num_steps if isinstance(found.translator, FlowActionTranslator) else 0,
    }
    make = partial(translated_env, task, found.translator, study.policy)
    return Trained(make, study.at_home, details, found.episodes)


def translated_env(
    task: ArmTask, translator: ActionTranslator, source: SourcePolicy, render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    """Return the target behind a translator, as the source policy sees it."""
    space: Any = source.policy.action_space  # a Box, as Robot.check saw to it
    return ActionTranslationWrapper(task.target.make(render_mode), translator, space, task.source_observation)


def milliseconds(translator: ActionTranslator, obs: NDArray[Any], calls: int = 200) -> float:
    """Return the median time of one translation of one robot's action [ms]."""
    action = np.zeros(translator.source_action_dim, np.float32)
    noise = np.zeros(translator.noise_dim, np.float32) if translator.noise_dim else None
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        translator.predict(obs, action, noise=noise)
        seconds.append(time.perf_counter() - started)
    return 1_000 * float(np.median(seconds))


def simulated_composition(
    make_target: MakeEnv, make_source: MakeEnv, inverse_dynamics: InverseDynamics
) -> gymnasium.Env[Any, Any]:
    """Return the target behind its inverse dynamics, asked for what the source's simulator reaches."""
    return SimulatedCompositionWrapper(make_target(), make_source(), inverse_dynamics)


class SimulatedCompositionWrapper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays a source action in the source's simulator, and asks a learned inverse dynamics for the same observation.

    A control arm: the composed translator without the error of its forward model.

    Args:
        env: The target, a MuJoCo env.
        source_env: The source, with the same states.
        inverse_dynamics: The target's.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], source_env: gymnasium.Env[Any, Any], inverse_dynamics: InverseDynamics
    ) -> None:
        super().__init__(env)
        self.action_space = source_env.action_space
        self._source_env = source_env
        self._source = ExactDynamics(source_env)
        self._inverse_dynamics = inverse_dynamics
        self._observation: NDArray[Any]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Reset both."""
        self._source_env.reset(seed=seed)
        observation, info = self.env.reset(seed=seed, options=options)
        self._observation = np.array(observation)
        return observation, info

    def step(self, action: NDArray[Any]) -> Any:
        """Ask for what the source would reach, and step the target."""
        set_state(self._source_env, get_state(self.env))
        clipped = np.clip(action, self._source.low, self._source.high).astype(np.float32)
        # Beneath the time limit, and therefore with the model's own controls.
        reached = self._source_env.unwrapped.step(self._source.controls(clipped))[0]
        answer = self._inverse_dynamics.predict(self._observation, reached)
        space: Any = self.env.action_space
        observation, *rest = self.env.step(np.clip(answer, space.low, space.high).astype(space.dtype))
        self._observation = np.array(observation)
        return observation, *rest
