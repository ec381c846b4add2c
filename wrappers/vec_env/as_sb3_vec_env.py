"""Gymnasium's vector envs for Stable-Baselines3."""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import gymnasium.wrappers.vector
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from packaging.version import Version
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from generative_policies.policies.observation_map import map_rows, take_row

OLD_STATISTICS = Version(gymnasium.__version__) < Version("1.4")


def as_sb3_vec_env(env: "VectorEnv[Any, Any, Any]") -> VecEnv:
    """Return a vector env of Gymnasium as a ``VecEnv`` of Stable-Baselines3.

    Episodes that end are begun anew in the same step, as SB3 expects, with the last observation in
    ``info["terminal_observation"]``; ``info["TimeLimit.truncated"]`` tells a time limit from an end. Envs that do not
    do so themselves (modes NEXT_STEP and DISABLED) are reset with a ``reset_mask``, which costs no step.

    Args:
        env: A vector env, wrapped or not, that tells its autoreset mode in ``metadata``. In the modes NEXT_STEP and
            DISABLED it must be a ``SyncVectorEnv`` or an ``AsyncVectorEnv``, which know the mask, and no wrapper of it
            may keep statistics; SB3's ``VecMonitor`` and ``VecNormalize`` around the result do.

    Raises:
        TypeError: If it is no vector env of Gymnasium.
        ValueError: If the autoreset mode is not told, or needs a mask that env or wrappers do not take, or a wrapper of
            an old Gymnasium would miscount.

    Example:
        >>> from stable_baselines3 import PPO
        >>> venv = as_sb3_vec_env(gymnasium.make_vec("Pendulum-v1", num_envs=4))
        >>> model = PPO("MlpPolicy", venv, n_steps=8, batch_size=32).learn(32)
    """
    return _VectorEnvAdapter(env)


class _VectorEnvAdapter(VecEnv):
    """A vector env of Gymnasium behind SB3's interface."""

    def __init__(self, env: "VectorEnv[Any, Any, Any]") -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(f"expected a gymnasium.vector.VectorEnv, got {type(env).__name__}")
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(f"{env} must tell its autoreset mode in metadata['autoreset_mode'], got {mode!r}")
        if mode == AutoresetMode.SAME_STEP:
            _check_statistics(env)
        else:
            _check_masks(env)
        self.env = env
        self.mode = mode
        self.actions: NDArray[Any] | None = None
        # SB3 asks the attributes of envs for it while it is constructed.
        self._render_mode = env.render_mode
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.metadata = env.metadata

    def reset(self) -> Any:  # VecEnvObs
        if any(options != self._options[0] for options in self._options):
            raise ValueError(f"Gymnasium's vector envs take one dictionary of options for all, got {self._options}")
        seeds: Any = self._seeds
        if seeds[0] is None or seeds == [seeds[0] + row for row in range(self.num_envs)]:
            seeds = seeds[0]  # which not all vector envs take as a list
        observations, info = self.env.reset(seed=seeds, options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [_row_info(info, row) for row in range(self.num_envs)]
        return _owned(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        self.actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, terminations, truncations, info = self.env.step(self.actions)
        dones = np.asarray(terminations | truncations, dtype=bool)
        infos = [_row_info(info, row) for row in range(self.num_envs)]
        ended = np.flatnonzero(dones).tolist()
        observations = _owned(observations)
        if self.mode == AutoresetMode.SAME_STEP:
            for row in ended:
                # What is there beside the last info belongs to the reset.
                final, last = infos[row].pop("final_info", {}), infos[row].pop("final_obs")
                # But for what RecordEpisodeStatistics says of the whole episode.
                statistics = {"episode": infos[row].pop("episode")} if "episode" in infos[row] else {}
                self.reset_infos[row] = infos[row]
                infos[row] = {**final, **statistics, "terminal_observation": last}
        elif len(ended):
            for row in ended:
                infos[row]["terminal_observation"] = take_row(observations, row)
            beginnings, reset_info = self.env.reset(options={"reset_mask": dones.copy()})
            observations = _owned(beginnings)  # those of the others are as they were
            for row in ended:
                self.reset_infos[row] = _row_info(reset_info, row)
        for row, row_info in enumerate(infos):
            row_info["TimeLimit.truncated"] = bool(truncations[row] and not terminations[row])
        return observations, np.asarray(rewards, dtype=np.float32), dones, infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        if attr_name == "render_mode":  # asked for at construction, of envs that may be in other processes
            return [self._render_mode for _ in self._rows(indices)]
        base: Any = self.env.unwrapped
        values = base.get_attr(attr_name)
        return [values[row] for row in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        rows = self._rows(indices)
        base: Any = self.env.unwrapped
        if len(set(rows)) == self.num_envs:
            base.set_attr(attr_name, [value] * self.num_envs)
        elif hasattr(base, "envs"):
            for row in rows:
                base.envs[row].set_wrapper_attr(attr_name, value)
        else:
            raise NotImplementedError(f"{base} sets an attribute of all its envs or of none; pass indices=None")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        rows = self._rows(indices)
        base: Any = self.env.unwrapped
        if len(rows) == self.num_envs:
            answers = base.call(method_name, *args, **kwargs)
            return [answers[row] for row in rows]
        envs = getattr(base, "envs", None)
        if envs is None:
            raise NotImplementedError(f"{base} calls a method of all its envs or of none; pass indices=None")
        return [envs[row].get_wrapper_attr(method_name)(*args, **kwargs) for row in rows]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        base: Any = self.env.unwrapped
        if not hasattr(base, "envs"):
            # In other processes: a wrapped env names its wrappers, "<TimeLimit<OrderEnforcing<...>>>".
            texts = base.call("__str__")
            return [f"<{wrapper_class.__name__}<" in texts[row] for row in self._rows(indices)]
        return [_is_wrapped(base.envs[row], wrapper_class) for row in self._rows(indices)]

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        frames: Any = self.env.render()
        return list(frames) if frames is not None else [None] * self.num_envs

    def _rows(self, indices: VecEnvIndices) -> list[int]:
        chosen: Iterable[int] = self._get_indices(indices)
        return [int(row) for row in chosen]


def _check_statistics(env: Any) -> None:
    """Check that statistics of episodes are right where one begins in the step that another ends in."""
    while isinstance(env, VectorWrapper):
        if isinstance(env, gymnasium.wrappers.vector.RecordEpisodeStatistics) and OLD_STATISTICS:
            raise ValueError(
                f"RecordEpisodeStatistics of Gymnasium {gymnasium.__version__} misses the first step of each episode "
                "but the first, where envs reset in the same step: update Gymnasium to 1.4, or use VecMonitor of SB3"
            )
        env = env.env


def _check_masks(env: Any) -> None:
    """Check that some rows of a vector env can be reset."""
    keeping = (
        gymnasium.wrappers.vector.RecordEpisodeStatistics,
        gymnasium.wrappers.vector.NormalizeObservation,
        gymnasium.wrappers.vector.NormalizeReward,
    )
    advice = "make it with autoreset_mode=SAME_STEP"
    while isinstance(env, VectorWrapper):
        if isinstance(env, keeping):
            raise ValueError(
                f"{type(env).__name__} takes no reset of some envs: {advice}, or use VecMonitor or VecNormalize of SB3"
            )
        env = env.env
    if not isinstance(env, SyncVectorEnv | AsyncVectorEnv):
        raise ValueError(f"{env} may not know how to reset some of its envs: {advice}")


def _row_info(info: dict[str, Any], row: int) -> dict[str, Any]:
    """What a vector env's info says of one env."""
    found: dict[str, Any] = {}
    for name, values in info.items():
        if name.startswith("_") and name[1:] in info:
            continue
        mask = info.get(f"_{name}")
        if mask is not None and not mask[row]:
            continue
        if isinstance(values, dict):
            # Observations are rows of arrays, infos have masks of their own.
            has_masks = any(key.startswith("_") for key in values)
            found[name] = _row_info(values, row) if has_masks else {key: entry[row] for key, entry in values.items()}
        else:
            value = values[row]
            found[name] = value.item() if isinstance(value, np.generic) else value
    return found


def _owned(observations: Any) -> Any:
    """Observations that the env does not write into."""
    return map_rows(np.array, observations)


def _is_wrapped(env: Any, wrapper_class: type[Any]) -> bool:
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, wrapper_class):
            return True
        env = env.env
    return False
