"""What the policies of this library share: observations in, actions out, and a memory that travels in ``state``."""

import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space, maybe_transpose
from stable_baselines3.common.utils import is_vectorized_observation
from torch import Tensor

from generative_policies.data import OBSERVATION, pad_rows
from generative_policies.data.episode_generator import Stream
from generative_policies.models.dimensions import check_block, check_flag
from generative_policies.pickled_files import warn_of_pickles
from generative_policies.policies.episode_memory import EpisodeMemory, Flags, State

Rows = dict[str, NDArray[Any]]
"""Observations ``(rows, ...)`` by name; those that are no dictionaries under ``"observation"``."""


class Response(NamedTuple):
    """What a policy answers.

    Attributes:
        actions: ``(rows, action_dim)``, in [-1, 1] where the output is squashed, else in the env's units.
        memory: The episodes, with the noise that was drawn taken out of their streams.
        state: What else the policy remembers, arrays with one entry a row.
    """

    actions: NDArray[Any]
    memory: EpisodeMemory
    state: State


def action_size(action_space: Space[Any]) -> int:
    """Return how many numbers an action has.

    Raises:
        TypeError: If the space is no Box.
    """
    if not isinstance(action_space, Box):
        raise TypeError(f"action_space must be a Box, got {action_space}")
    return int(np.prod(action_space.shape, dtype=int))


class EpisodicPolicy(BasePolicy):
    """A policy whose noise depends on the seed and the number of each row's episode, not on its neighbours.

    ``predict`` takes and gives SB3's ``state``. ``initial_state(seeds)`` makes the first one for given reset seeds;
    without, rows draw seeds from PyTorch's global generator. The same observation and state give the same action,
    bit for bit, whatever the other rows are. The policy stays in the mode, training or evaluation, in which it is.

    Args:
        observation_space: A Box, or a Dict of Boxes.
        action_space: A Box.
        squash_output: Whether the model's actions lie in [-1, 1], the scaled range of the action space.
        block: Models see batches padded to a multiple of this many rows.

    Raises:
        TypeError: If a space is another.
        ValueError: If ``squash_output`` meets an unbounded action space.
    """

    stream = Stream.POLICY

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        *,
        squash_output: bool = False,
        block: int = 16,
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=squash_output)
        entries = dict(observation_space.items()) if isinstance(observation_space, Dict) else {"": observation_space}
        for name, space in entries.items():
            if not isinstance(space, Box):
                raise TypeError(f"observation_space must be a Box or a Dict of Boxes, got {space} {name}".rstrip())
        self.action_dim = action_size(action_space)
        if check_flag("squash_output", squash_output) and not (
            isinstance(action_space, Box) and action_space.is_bounded()
        ):
            raise ValueError(f"squash_output needs a bounded action space, got {action_space}")
        self.block = check_block(block)
        self._state_shapes: list[tuple[int, ...]] | None = None  # of a row, once they are asked for

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments after the two spaces."""
        raise NotImplementedError

    @abstractmethod
    def respond(self, rows: Rows, memory: EpisodeMemory, starts: Flags, state: State, deterministic: bool) -> Response:
        """Answer one observation a row.

        Args:
            rows: The observations.
            memory: The episodes, those that start having begun.
            starts: ``(rows,)``, which rows start an episode; their state counts for nothing.
            state: What ``initial_memory`` or the last response gave.
            deterministic: Whether noise is the fixed draw that all rows share.
        """

    def initial_memory(self, memory: EpisodeMemory) -> State:
        """Return what the policy remembers before the first step of its rows, beside their noise."""
        return ()

    def initial_state(self, seeds: Sequence[int] | NDArray[np.int64]) -> State:
        """Return the ``state`` of the first call of ``predict`` after resets with these seeds, one a row.

        Example:
            >>> import gymnasium
            >>> env = gymnasium.make("Pendulum-v1")
            >>> from generative_policies.policies import FlowPolicy
            >>> policy = FlowPolicy(env.observation_space, env.action_space)
            >>> observation, info = env.reset(seed=3)
            >>> action, state = policy.predict(observation, policy.initial_state([3]))
        """
        memory = EpisodeMemory.from_seeds(seeds)
        return (*memory.state, *self.initial_memory(memory))

    def predict(
        self,
        observation: NDArray[Any] | Mapping[str, NDArray[Any]],
        state: State | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], State]:
        """Return actions, as SB3's policies do, and the state of the next call.

        Args:
            observation: One, or one a row; images with the channels first or last.
            state: What the last call returned, or ``initial_state`` gave; ``None`` begins new episodes.
            episode_start: ``(rows,)``, which rows begin an episode.
            deterministic: Whether noise is one fixed draw for all rows and steps, instead of each episode's own.

        Raises:
            ValueError: If observation, state or ``episode_start`` has another shape.
        """
        rows, single = self.observation_rows(observation)
        count = len(next(iter(rows.values())))
        if state is None:
            fresh = EpisodeMemory.unseeded(count)
            state = (*fresh.state, *self.initial_memory(fresh))
        self._check_state(state, count)
        if episode_start is not None and np.shape(episode_start) not in ((count,), ()):
            raise ValueError(f"episode_start must have shape ({count},), got {np.shape(episode_start)}")
        memory = EpisodeMemory.from_state(state)
        starts = memory.starts(episode_start)
        answer = self.respond(rows, memory.begin(starts, self.stream), starts, state[3:], deterministic)
        actions = self.env_actions(answer.actions)
        return actions[0] if single else actions, (*answer.memory.state, *answer.state)

    @classmethod
    def load(cls, path: str | Path | io.BufferedIOBase, device: torch.device | str = "auto") -> Self:
        """Load what ``save``, SB3's own, wrote; ``policies.load_policy`` reads a format that is safe from anybody.

        It is pickled: load it only from somebody you trust. The first such file of a process warns of that.

        Args:
            path: The file.
            device: As everywhere in SB3.
        """
        if not isinstance(path, str | Path) or Path(path).is_file():
            warn_of_pickles(path)
        file: Any = path  # torch takes all three
        return super().load(file, device)

    def padded(self, rows: Any) -> Any:
        """Pad arrays ``(rows, ...)``, or each of a dictionary, to a multiple of ``block`` rows."""
        if isinstance(rows, Mapping):
            return {name: pad_rows(values, self.block) for name, values in rows.items()}
        return pad_rows(rows, self.block)

    def _predict(self, observation: Any, deterministic: bool = False) -> Tensor:  # SB3's PyTorchObs
        """Return the actions of the first step of an episode, without gradients."""
        arrays = observation if isinstance(observation, Mapping) else {OBSERVATION: observation}
        rows = {name: tensor.detach().cpu().numpy() for name, tensor in arrays.items()}
        count = len(next(iter(rows.values())))
        starts = np.ones(count, dtype=bool)
        memory = EpisodeMemory.unseeded(count)
        own = self.initial_memory(memory)
        answer = self.respond(rows, memory.begin(starts, self.stream), starts, own, deterministic)
        return torch.as_tensor(answer.actions, device=self.device)

    def _check_state(self, state: State, count: int) -> None:
        """Check that a state is this policy's, of so many rows."""
        if self._state_shapes is None:
            self._state_shapes = [array.shape[1:] for array in self.initial_state([0])]
        shapes = [np.shape(array)[1:] for array in state]
        if shapes != self._state_shapes:
            raise ValueError(f"state holds arrays with rows of shapes {shapes}, this policy's are {self._state_shapes}")
        if any(len(array) != count for array in state):
            raise ValueError(f"state is of {len(state[0])} rows, the observation of {count}")

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {"observation_space": self.observation_space, "action_space": self.action_space, **self.config}

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return a model's actions ``(rows, action_dim)`` in the shape, bounds and dtype of the action space."""
        space: Any = self.action_space  # a Box, as constructed
        actions = actions.reshape(-1, *space.shape)
        if self.squash_output:
            actions = self.unscale_action(np.clip(actions, -1, 1))
        clipped: NDArray[Any] = np.clip(actions, space.low, space.high).astype(space.dtype)
        return clipped

    def observation_rows(self, observation: Any) -> tuple[Rows, bool]:
        """Return observations by name with a row axis, and whether there was a single one.

        Raises:
            ValueError: If it is not what the observation space says.
        """
        if isinstance(observation, tuple):
            raise ValueError("got a tuple as observation; Gymnasium's reset returns one, pass its first entry")
        space = self.observation_space
        if isinstance(space, Dict):
            if not isinstance(observation, Mapping) or set(observation) != set(space.keys()):
                got = sorted(observation) if isinstance(observation, Mapping) else type(observation).__name__
                raise ValueError(f"the observation must be a dictionary of {sorted(space.keys())}, got {got}")
            entries = [(name, space[name], observation[name]) for name in space.keys()]  # noqa: SIM118  # a Space
        else:
            if isinstance(observation, Mapping):
                raise ValueError(f"the observation must be an array of shape {space.shape}, got a dictionary")
            entries = [(OBSERVATION, space, observation)]
        rows: Rows = {}
        kinds = set()
        for name, entry_space, values in entries:
            array = np.asarray(values)
            if is_image_space(entry_space):
                array = maybe_transpose(array, entry_space)
            is_batch = is_vectorized_observation(array, entry_space)  # refuses other shapes
            rows[name] = array if is_batch else array[None]
            kinds.add((len(rows[name]), is_batch))
        if len(kinds) > 1:
            shapes = {name: values.shape for name, values in rows.items()}
            raise ValueError(f"all entries of the observation must have the same number of rows, got {shapes}")
        count, is_batch = kinds.pop()
        if count == 0:
            raise ValueError("the observation has no row")
        return rows, not is_batch
