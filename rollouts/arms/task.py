"""What decides an arm's result."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from generative_policies.rollouts.episodes import Act, Episode, MakeEnv
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.source_policies import SourcePolicy, load_source, source_digests

METHODS_VERSION = 1
"""Raised where an arm comes to learn in another way, so that results and half-finished rounds are not mixed."""


@dataclass(frozen=True)
class ArmTask:
    """One arm on one target with one training seed: all that decides its result.

    Attributes:
        arm: Name of the arm.
        seed: Training seed, 0 to 8; 0 for arms without training.
        source: The source robot.
        target: The target robot.
        policy: The source policy, see ``load_source``.
        vecnormalize: Its statistics.
        episodes: Test episodes.
        first_seed: The first one's reset seed.
        source_episodes: Noisy episodes at home, for models of the source.
        inverse_dynamics_updates: Gradient steps of each model of the source.
        rounds: Rounds of collecting on the target.
        episodes_per_round: Episodes of each.
        updates: Gradient steps of each training of a translator.
        hidden_width: Width of the two hidden layers of every network.
        noise: Least and largest noise while collecting on the target, in units of half the action range.
        model_updates: Gradient steps of each training of a model of the target.
        guide_updates: Gradient steps of each training through models.
        matching_steps: Steps that multi-step matching looks ahead.
        target_steps: Target steps of the arms that see its reward; those of the others by default.
        curve_steps: Target steps between two points of such an arm's learning curve; none by default.
        simulated_steps: Steps in the identified simulator, of the arm that is trained there.
        source_observation: Number of leading entries of the target's observation that the source policy sees; all by
            default.
    """

    arm: str
    seed: int
    source: Robot
    target: Robot
    policy: str
    vecnormalize: str | None
    episodes: int
    first_seed: int
    source_episodes: int
    inverse_dynamics_updates: int
    rounds: int
    episodes_per_round: int
    updates: int
    hidden_width: int
    noise: tuple[float, float] = (0.075, 0.2)
    model_updates: int = 3_000
    guide_updates: int = 2_500
    matching_steps: int = 5
    target_steps: int | None = None
    curve_steps: int | None = None
    simulated_steps: int = 1_000_000
    source_observation: int | None = None

    @property
    def first_training_seed(self) -> int:
        """Reset seeds of a training lie in [1,000, 10,000), a thousand a training seed."""
        return 1_000 * (self.seed + 1)

    def load_source(self) -> SourcePolicy:
        """Load the source policy."""
        return load_source(self.policy, self._vecnormalize)

    def fingerprint(self, without: Sequence[str] = ()) -> str:
        """Return what tells these settings and this policy from all others, but for some of the settings."""
        settings = {name: value for name, value in asdict(self).items() if name not in without}
        content = {**settings, "digests": self.digests(), "methods_version": METHODS_VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def digests(self) -> dict[str, str]:
        """Return digests of the source policy, so that another one under the same name is seen."""
        return source_digests(self.policy, self._vecnormalize)

    @property
    def _vecnormalize(self) -> Path | None:
        return None if self.vecnormalize is None else Path(self.vecnormalize)


class Trained(NamedTuple):
    """An arm that is ready to be evaluated.

    Attributes:
        make: Makes its env.
        act: The policy in it.
        details: Figures for its result.
        episodes: What it learned from on the target, where that covers what it visits.
    """

    make: MakeEnv
    act: Act
    details: dict[str, Any]
    episodes: Sequence[Episode] = ()
