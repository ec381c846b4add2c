"""The random generator of one episode, apart from the env's own."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What an episode's noise is for; streams of one episode are independent of each other."""

    TRANSLATION = 0
    EXPLORATION = 1
    RANDOM_ACTIONS = 2
    POLICY = 3


def episode_generator(seed: int, episode_index: int = 0, stream: Stream = Stream.TRANSLATION) -> np.random.Generator:
    """Return the generator that an episode's policy draws its noise from.

    It depends on the reset seed and on the number of resets since alone. It is *not* ``default_rng([seed, index])``:
    with index 0 that is the generator that Gymnasium gives the env itself, and a policy's noise would repeat the noise
    of the initial state.

    Args:
        seed: The seed of the last seeded reset.
        episode_index: Unseeded resets since.
        stream: What the noise is for.

    Example:
        >>> from gymnasium.utils.seeding import np_random
        >>> bool(episode_generator(3).normal() == np_random(3)[0].normal())
        False
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(episode_index, stream)))
