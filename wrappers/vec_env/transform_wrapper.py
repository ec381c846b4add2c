"""What the wrappers around the ``VecEnv`` of Stable-Baselines3 share."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from generative_policies.policies.observation_map import map_rows
from generative_policies.wrappers.episodes import EpisodeRows, row_seeds
from generative_policies.wrappers.transform_wrapper import one_thread_in_workers
from generative_policies.wrappers.transforms import ActionTransform


class TransformVecEnvWrapper(VecEnvWrapper):
    """Sends the envs of a ``VecEnv`` what an ``ActionTransform`` makes of their actions.

    Args:
        venv: The envs.
        transform: The transform, built for the spaces of one env.
    """

    def __init__(self, venv: VecEnv, transform: ActionTransform) -> None:
        super().__init__(venv, transform.observation_space, transform.action_space)
        one_thread_in_workers()
        self.transform = transform
        self._episodes = EpisodeRows(venv.num_envs, transform.noise_dim)
        self._all = np.ones(venv.num_envs, dtype=bool)
        self._name = _name(venv)
        self._observations: Any = None
        self._told: dict[str, NDArray[Any]] = {}

    def reset(self) -> Any:  # VecEnvObs
        """Reset all envs."""
        # Those of ``seed``, whether it was called before or after wrapping; the reset forgets them.
        seeds = list(self.venv.unwrapped._seeds)
        observations = self.venv.reset()
        self._episodes.begin(self._all, seeds)
        return self._keep(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Transform actions ``(num_envs, policy_action_dim)`` with one call of the model, and send them.

        Raises:
            RuntimeError: Before the first reset.
            ValueError: If an action has another shape or is not finite, or the model's answer is not finite; no env has
                moved then.
        """
        if self._observations is None:
            raise RuntimeError("call reset before step: the model needs the observations")
        episodes = self._episodes
        targets, extra = self.transform(
            self._observations, np.asarray(actions), episodes.noise(None), episodes.starts, None, self._describe
        )
        self._told = {"target_action": targets.copy(), **extra}
        self.venv.step_async(targets)

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the envs; ``terminal_observation`` is in the policy's form, as observations are."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self._episodes.step(None)
        self.transform.commit()
        for row, info in enumerate(infos):
            # Where wrappers of this library are stacked, the innermost one knows what the env got.
            innermost = {"target_action": info["target_action"]} if "target_action" in info else {}
            info.update({name: rows[row] for name, rows in self._told.items()} | innermost)
            if "terminal_observation" in info:
                batch = map_rows(lambda values: np.asarray(values)[None], info["terminal_observation"])
                info["terminal_observation"] = map_rows(lambda rows: rows[0], self.transform.show(batch))
        if dones.any():
            self._episodes.begin(np.asarray(dones, dtype=bool), row_seeds(None, self.num_envs))
        return self._keep(observations), rewards, dones, infos

    def _keep(self, observations: Any) -> Any:
        """Keep observations for the next step, and return what the policy sees of them."""
        self._observations = map_rows(np.array, observations)  # the caller may change what it was given
        shown = self.transform.show(self._observations)
        return observations if shown is self._observations else shown

    def _describe(self, row: int) -> str:
        return f"{type(self).__name__} around env {row} of {self._name} at step {self._episodes.steps[row]}"


def _name(venv: VecEnv) -> str:
    """What the first env calls itself, its id included; asked for early, for a message must not need a worker."""
    try:
        return str(venv.env_method("__str__", indices=0)[0])
    except (AttributeError, NotImplementedError):
        return repr(venv)


def single_attribute(venv: VecEnv) -> Callable[[str], Any]:
    """Return a function that gives an attribute of the first env by its name."""
    return lambda name: venv.get_attr(name, 0)[0]
