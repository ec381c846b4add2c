"""Another robot's policy, translated."""

from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Space
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from generative_policies.action_translation import ActionTranslator
from generative_policies.data import OBSERVATION
from generative_policies.data.episode_generator import Stream
from generative_policies.models.dimensions import check_part
from generative_policies.policies.episode_memory import EpisodeMemory, Flags, State, fixed_noise
from generative_policies.policies.episodic_policy import EpisodicPolicy, Response, Rows
from generative_policies.policies.observation_map import ObservationMap

# Seeds of a translation inside of another; its noise must not be the outer one's.
NESTED = 2**32


class TranslatedPolicy(EpisodicPolicy):
    """Any policy of the source robot, as a policy of the target: what it does, translated.

    It gives what the source policy gives in an env behind ``wrappers.ActionTranslationWrapper``, the translator's noise
    included. Policies of SB3 act deterministically, since their noise would depend on the rows beside them; those of
    this library follow ``deterministic``.

    Args:
        observation_space: The target's.
        action_space: The target's, a Box.
        source_policy: A policy or algorithm of SB3, without a state or of this library.
        translator: Turns source actions into target actions.
        source_observation: What the source policy was trained on: a function of one observation of the target, a number
            of leading entries, a slice, or indices; the whole observation by default. The translator sees the target's.
        block: Policy and translator see batches padded to a multiple of this many rows; 1 is fastest.

    Raises:
        TypeError: If a space or a model is another.
        ValueError: If widths do not fit.

    Example:
        >>> import gymnasium
        >>> from stable_baselines3 import PPO
        >>> from generative_policies.action_translation import MlpActionTranslator
        >>> env = gymnasium.make("Pendulum-v1")
        >>> expert = PPO("MlpPolicy", env)
        >>> policy = TranslatedPolicy(env.observation_space, env.action_space, expert, MlpActionTranslator(1, 3))
        >>> policy.predict(env.reset(seed=0)[0])[0].shape
        (1,)
    """

    stream = Stream.TRANSLATION

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        source_policy: BasePolicy | BaseAlgorithm,
        translator: ActionTranslator,
        source_observation: Any = None,
        *,
        block: int = 16,
    ) -> None:
        super().__init__(observation_space, action_space, block=block)
        policy = source_policy.policy if isinstance(source_policy, BaseAlgorithm) else source_policy
        check_part("source_policy", policy, BasePolicy)
        check_part("translator", translator, ActionTranslator)
        source_dim = int(np.prod(policy.action_space.shape or (0,)))
        if (translator.source_action_dim, translator.action_dim) != (source_dim, self.action_dim):
            raise ValueError(
                f"the translator takes actions of width {translator.source_action_dim} to {translator.action_dim}, the "
                f"source policy gives {source_dim} and the target takes {self.action_dim}; are they swapped?"
            )
        self.source_observation = source_observation
        self._seen = None if source_observation is None else ObservationMap(source_observation)
        seen_space = observation_space if self._seen is None else self._seen.space(observation_space)
        if _shapes(seen_space) != _shapes(policy.observation_space):
            raise ValueError(
                f"the source policy sees {_shapes(policy.observation_space)}, the target shows {_shapes(seen_space)}: "
                f"pass source_observation"
            )
        self.source_policy = policy
        self.translator = translator

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments after the two spaces."""
        return {
            "source_policy": self.source_policy,
            "translator": self.translator,
            "source_observation": self.source_observation,
            "block": self.block,
        }

    def initial_memory(self, memory: EpisodeMemory) -> State:
        """Return what the source policy remembers, see ``EpisodicPolicy``."""
        source = self.source_policy
        if isinstance(source, TranslatedPolicy):
            return source.initial_state(memory.seeds + NESTED)
        return source.initial_state(memory.seeds) if isinstance(source, EpisodicPolicy) else ()

    def respond(self, rows: Rows, memory: EpisodeMemory, starts: Flags, state: State, deterministic: bool) -> Response:
        """Translate the source policy's actions, see ``EpisodicPolicy``."""
        observations: Any = rows if isinstance(self.observation_space, Dict) else rows[OBSERVATION]
        seen = observations if self._seen is None else self._seen(observations)
        if isinstance(self.source_policy, EpisodicPolicy):
            source_actions, state = self.source_policy.predict(seen, state, starts, deterministic)
        else:
            source_actions = self.source_policy.predict(self.padded(seen), deterministic=True)[0][: len(starts)]
        noise: NDArray[Any] | None = None
        if self.translator.noise_dim and deterministic:
            noise = np.tile(fixed_noise(self.translator.noise_dim), (len(starts), 1))
        elif self.translator.noise_dim:
            noise, memory = memory.draw(np.ones(len(starts), dtype=bool), self.translator.noise_dim)
        actions = self.translator.predict(
            self.padded(observations),
            self.padded(source_actions.reshape(len(starts), -1)),
            noise=None if noise is None else self.padded(noise),
        )
        return Response(actions[: len(starts)], memory, state)


def _shapes(space: Any) -> Any:
    return {name: entry.shape for name, entry in space.items()} if isinstance(space, Dict) else space.shape
