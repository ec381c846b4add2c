"""What the wrappers around vector envs share."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from generative_policies.policies.observation_map import map_rows
from generative_policies.wrappers.episodes import EpisodeRows, row_seeds
from generative_policies.wrappers.transform_wrapper import one_thread_in_workers
from generative_policies.wrappers.transforms import ActionTransform

Flags = NDArray[np.bool_]
Step = tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]

if TYPE_CHECKING:
    AnyVectorWrapper = VectorWrapper[Any, Any, Any, Any, NDArray[Any]]
else:
    AnyVectorWrapper = VectorWrapper  # older Gymnasiums' takes no type arguments


class TransformVectorWrapper(AnyVectorWrapper):
    """Sends many envs what an ``ActionTransform`` makes of their actions, in each of the three autoreset modes.

    Args:
        env: A vector env that tells its autoreset mode in ``metadata``.
        transform: The transform, built for the spaces of one env.

    Raises:
        ValueError: If the autoreset mode is not told.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], transform: ActionTransform) -> None:
        super().__init__(env)
        one_thread_in_workers()
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(f"{env} must tell its autoreset mode in metadata['autoreset_mode'], got {mode!r}")
        self.autoreset_mode = mode
        self.transform = transform
        self.single_observation_space = transform.observation_space
        self.observation_space = batch_space(transform.observation_space, env.num_envs)
        self.single_action_space = transform.action_space
        self.action_space = batch_space(transform.action_space, env.num_envs)
        self._episodes = EpisodeRows(env.num_envs, transform.noise_dim)
        self._all = np.ones(env.num_envs, dtype=bool)
        self._ended = np.zeros(env.num_envs, dtype=bool)
        self._observations: Any = None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all envs, or those of ``options["reset_mask"]``; env i takes the seed ``seed + i``."""
        rows = self._all
        if options is not None and options.get("reset_mask") is not None:
            rows = np.array(options["reset_mask"], dtype=bool)
        # The envs take the mask out of the options that they are given.
        observations, info = self.env.reset(seed=seed, options=None if options is None else dict(options))  # type: ignore[arg-type]  # a list, too
        self._episodes.begin(rows, row_seeds(seed, self.num_envs))
        self._ended[rows] = False
        return self._keep(observations), info

    def step(self, actions: Any) -> Step:
        """Transform actions ``(num_envs, policy_action_dim)`` with one call of the model, and step all envs.

        In NEXT_STEP mode the action after the end of an episode is ignored, as ever: it may be anything.

        Raises:
            RuntimeError: Before the first reset.
            ValueError: If an action has another shape or is not finite, or the model's answer is not finite; no env has
                moved then.
        """
        if self._observations is None:
            raise RuntimeError("call reset before step: the model needs the observations")
        episodes = self._episodes
        # Envs whose last episode ended are reset by this step in one mode, by the step that ended it in another.
        resetting = self._ended if self.autoreset_mode == AutoresetMode.NEXT_STEP and self._ended.any() else None
        active = None if resetting is None else ~resetting
        targets, extra = self.transform(
            self._observations, np.asarray(actions), episodes.noise(active), episodes.starts, active, self._describe
        )
        observations, rewards, terminations, truncations, info = self.env.step(targets)
        episodes.step(active)
        self.transform.commit()
        ended = np.asarray(terminations | truncations)
        extra = {"target_action": targets.copy(), **extra}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            self._finish(info, extra, ended)
            active, resetting = ~ended, ended
        told = self._all.copy() if active is None else active
        for name, rows in extra.items():
            if name == "target_action" and name in info:
                continue  # of wrappers of this library that are stacked, the innermost one knows what the env got
            info[name] = rows if active is None else np.where(active[:, None], rows, 0).astype(rows.dtype)
            info[f"_{name}"] = told
        if resetting is not None:
            episodes.begin(resetting, row_seeds(None, self.num_envs))
        self._ended = ended
        return self._keep(observations), rewards, terminations, truncations, info

    def _finish(self, info: dict[str, Any], extra: dict[str, NDArray[Any]], ended: Flags) -> None:
        """Bring the last observations into the policy's form, and tell their actions where Gymnasium keeps them."""
        for row in np.flatnonzero(ended):
            batch = map_rows(lambda values: np.asarray(values)[None], info["final_obs"][row])
            info["final_obs"][row] = map_rows(lambda rows: rows[0], self.transform.show(batch))
            told = {name: rows[row] for name, rows in extra.items()}
            if "target_action" in info["final_info"] and info["final_info"]["_target_action"][row]:
                del told["target_action"]
            info["final_info"] = self._add_info(info["final_info"], told, int(row))

    def _keep(self, observations: Any) -> Any:
        """Keep observations for the next step, and return what the policy sees of them."""
        # The caller may change what it was given, and the env may write the next ones into the same arrays.
        self._observations = map_rows(np.array, observations)
        shown = self.transform.show(self._observations)
        return observations if shown is self._observations else shown

    def _describe(self, row: int) -> str:
        name = self.spec.id if self.spec is not None else repr(self.env)
        return f"{type(self).__name__} around env {row} of {name} at step {self._episodes.steps[row]}"


def single_attribute(env: VectorEnv[Any, Any, Any]) -> Callable[[str], Any]:
    """Return a function that gives an attribute of the first env by its name."""

    def get_attribute(name: str) -> Any:
        base: Any = env.unwrapped
        return base.get_attr(name)[0]

    return get_attribute
