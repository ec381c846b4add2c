"""A single arm: one episode a seed, its figures, and how much of a lost performance that gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from generative_policies.rollouts.episodes import Act, Episode, MakeEnv, run_episodes
from generative_policies.rollouts.intervals import bootstrap_interval, interquartile_mean, wilson_interval


@dataclass(frozen=True)
class ArmResult:
    """What one arm did, an entry an episode, in the order of the seeds.

    Args:
        returns: Undiscounted returns.
        successes: Whether each episode succeeded, ``None`` where the env reports no success.

    Raises:
        ValueError: If there is no episode, or the numbers of entries differ.
    """

    returns: Sequence[float]
    successes: Sequence[bool] | None

    def __post_init__(self) -> None:
        if not self.returns or (self.successes is not None and len(self.successes) != len(self.returns)):
            given = "no" if self.successes is None else len(self.successes)
            raise ValueError(
                f"expected as many successes as returns, at least one, got {len(self.returns)} and {given}"
            )

    @property
    def score(self) -> float:
        """The success rate where the env reports success, else the mean return."""
        return float(np.mean(self.returns if self.successes is None else self.successes))

    def report(self, recovered: float | None, rng: np.random.Generator) -> dict[str, Any]:
        """Return the arm's figures for a JSON report.

        Args:
            recovered: Its share of the lost performance, see ``recovered``.
            rng: Source of the bootstrap.
        """
        successes = self.successes

        def mean(values: Any) -> float:
            return float(np.mean(values))

        return {
            "returns": list(self.returns),
            "successes": None if successes is None else list(successes),
            "mean_return": mean(self.returns),
            "return_interval": bootstrap_interval(self.returns, mean, rng),
            "interquartile_mean": interquartile_mean(self.returns),
            "interquartile_mean_interval": bootstrap_interval(self.returns, interquartile_mean, rng),
            "success_rate": None if successes is None else mean(successes),
            "success_interval": None if successes is None else wilson_interval(successes),
            "metric": "return" if successes is None else "success",
            "recovered": recovered,
        }


def evaluate_arm(
    make_env: MakeEnv, act: Act, seeds: Sequence[int], *, num_envs: int = 16, progress: str | None = None
) -> ArmResult:
    """Run one episode a seed without exploration.

    Args:
        make_env: Makes one env, wrapped where the arm needs it.
        act: The policy.
        seeds: The reset seeds, the same for every arm.
        num_envs: Envs in step; the result does not depend on it.
        progress: Name of a progress bar.

    Returns:
        The return of each episode in the order of ``seeds``, and whether it succeeded.
    """
    return summarize(run_episodes(make_env, act, seeds, num_envs=num_envs, progress=progress))


def summarize(episodes: Sequence[Episode]) -> ArmResult:
    """Return the result of finished episodes."""
    successes = [episode.success for episode in episodes]
    return ArmResult(
        returns=[episode.total_reward for episode in episodes],
        successes=None if None in successes else [bool(success) for success in successes],
    )


def recovered(arm: float, untranslated: float, source: float) -> float | None:
    """Return (J - J_untranslated) / (J_source - J_untranslated).

    Args:
        arm: The arm's score J.
        untranslated: Score of the source policy on the target as it is, the floor.
        source: Score of the source policy at home, the ceiling.

    Returns:
        The share, which may lie outside [0, 1]; ``None`` where the floor does not lie below the ceiling.

    Example:
        >>> recovered(0.9, untranslated=0.4, source=1.0)
        0.8333333333333334
    """
    return (arm - untranslated) / (source - untranslated) if untranslated < source else None
