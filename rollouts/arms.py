"""The control arms of a comparison: how each is trained on a target, and evaluated there."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv

from generative_policies.action_translation import (
    ActionTranslator,
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
    MlpActionTranslator,
)
from generative_policies.checkpoints import CheckpointError, load, save
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import BehaviorCloning
from generative_policies.rollouts.aggregation import Aggregated, Rounds, aggregate, learn, share_outside
from generative_policies.rollouts.episodes import (
    Act,
    Episode,
    MakeEnv,
    random_act,
    run_episodes,
    source_act,
    transitions,
)
from generative_policies.rollouts.exact_translation import ExactTranslationWrapper
from generative_policies.rollouts.pairing import relabel
from generative_policies.rollouts.provenance import versions
from generative_policies.rollouts.robots import Robot
from generative_policies.rollouts.source_policies import SourcePolicy, load_source
from generative_policies.training import FitSettings
from generative_policies.wrappers import ActionTranslationWrapper

TRANSLATORS: dict[str, type[Any]] = {
    "mlp": MlpActionTranslator,
    "flow_prior": FlowActionPriorTranslator,
    "flow_conditioned": FlowActionConditionedTranslator,
    "flow_prior_conditioned": FlowActionPriorConditionedTranslator,
}
UNTRAINED = ("random", "source", "untranslated", "exact")
TRAINED = (*TRANSLATORS, "behavior_cloning", "sac_from_scratch")
ARMS = (*UNTRAINED, *TRAINED)
MATCHING_ARMS = (*UNTRAINED, *TRANSLATORS, "behavior_cloning")


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
        source_episodes: Noisy episodes at home, for the source's inverse dynamics.
        inverse_dynamics_updates: Its gradient steps.
        rounds: Rounds of collecting on the target.
        episodes_per_round: Episodes of each.
        updates: Gradient steps of each training of a translator.
        hidden_width: Width of the two hidden layers of every network.
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

    @property
    def first_training_seed(self) -> int:
        """Reset seeds of a training lie in [1,000, 10,000), a thousand a training seed."""
        return 1_000 * (self.seed + 1)

    def load_source(self) -> SourcePolicy:
        """Load the source policy."""
        return load_source(self.policy, None if self.vecnormalize is None else Path(self.vecnormalize))


def run_arm(task: ArmTask, models: str, num_envs: int) -> dict[str, Any]:
    """Train an arm where it learns, evaluate it on the test seeds, and return its figures for JSON.

    Args:
        task: The arm.
        models: Folder that trained models are written to; a model of the inverse dynamics that stands there is used.
        num_envs: Envs in step; the result does not depend on it.
    """
    torch.set_num_threads(1)
    folder = Path(models)
    policy = task.load_source()
    source = policy.act()
    target: MakeEnv = task.target.make
    make: MakeEnv = target
    details: dict[str, Any] = {}
    if task.arm == "random":
        act = random_act(target().action_space)
    elif task.arm == "source":
        make, act = task.source.make, source
    elif task.arm == "untranslated":
        act = source
    elif task.arm == "exact":
        make, act = partial(_exact, task), source
    elif task.arm in TRANSLATORS:
        found = train_translator(task, source, task.arm, folder, num_envs)
        save(found.translator, folder / f"{task.arm}-{task.seed}")
        make, act = partial(_translated, task, found.translator, policy), source
        details["target_steps"] = len(found.pairs)
    elif task.arm == "behavior_cloning":
        act, details["target_steps"] = _behavior_cloning(task, source, folder, num_envs)
    elif task.arm == "sac_from_scratch":
        act, details["target_steps"] = _sac_from_scratch(task, source, folder, num_envs)
    else:
        raise ValueError(f"arm must be one of {', '.join(ARMS)}; got {task.arm!r}")
    seeds = range(task.first_seed, task.first_seed + task.episodes)
    episodes = run_episodes(make, act, seeds, num_envs=num_envs)
    if task.arm in TRANSLATORS:
        seen = np.concatenate([episode.observations[:-1] for episode in episodes])
        details["outside"] = share_outside(found.pairs, seen)
    return {
        "arm": task.arm,
        "seed": task.seed,
        **_figures(episodes),
        **details,
        "task": asdict(task),
        "versions": versions(),
    }


def train_translator(task: ArmTask, source: Act, name: str, folder: Path, num_envs: int = 16) -> Aggregated:
    """Train a translator by relabelled data, collected in rounds with the translator itself.

    Args:
        task: Robots and sizes.
        source: The source policy.
        name: Which translator.
        folder: Where the source's inverse dynamics is kept, and the rounds, from which an interrupted call goes on.
        num_envs: Envs in step; the result does not depend on it.
    """
    inverse_dynamics = source_inverse_dynamics(task, source, folder, num_envs)
    kind, widths = TRANSLATORS[name], [task.hidden_width] * 2

    def build() -> ActionTranslator:
        translator: ActionTranslator = kind(inverse_dynamics.action_dim, inverse_dynamics.obs_dim, widths)
        return translator

    return aggregate(
        build,
        source,
        task.target.make,
        lambda data: relabel(data, inverse_dynamics),
        Rounds(task.rounds, task.episodes_per_round),
        FitSettings(num_updates=task.updates),
        first_seed=task.first_training_seed + 500,
        rng=np.random.default_rng([task.seed, 1]),
        generator=torch.Generator().manual_seed(task.seed),
        folder=folder / f"{task.arm}-{task.seed}-rounds",
        num_envs=num_envs,
        name=name,
    )


def source_inverse_dynamics(task: ArmTask, source: Act, folder: Path, num_envs: int = 16) -> MlpInverseDynamics:
    """Return the source's inverse dynamics, from noisy episodes at home; one that was trained already is loaded."""
    path = folder / f"inverse_dynamics-{task.seed}"
    try:
        model: MlpInverseDynamics = load(path)
    except CheckpointError:
        pass
    else:
        return model
    rng = np.random.default_rng([task.seed, 0])
    episodes = run_episodes(
        task.source.make,
        source,
        range(task.first_training_seed, task.first_training_seed + task.source_episodes),
        # From nearly the policy's own actions to noise that drowns them, in units of half the action range.
        exploration=rng.uniform(0.015, 0.6, task.source_episodes).tolist(),
        num_envs=num_envs,
        progress="collect source episodes",
    )
    data = transitions(episodes)
    model = learn(
        lambda: MlpInverseDynamics(data.actions.shape[1], data.obs.shape[1], [task.hidden_width] * 2),
        data,
        task.inverse_dynamics_updates,
        torch.Generator().manual_seed(task.seed),
        progress="train inverse dynamics",
    )
    save(model, path)
    return model


def _behavior_cloning(task: ArmTask, source: Act, folder: Path, num_envs: int) -> tuple[Act, int]:
    """Clone the target actions of the data that the MLP translator learns from."""
    pairs = train_translator(task, source, "mlp", folder, num_envs).pairs
    bounds = np.flatnonzero(np.diff(pairs.episodes)) + 1
    episodes = list(zip(np.split(pairs.obs, bounds), np.split(pairs.target_actions, bounds), strict=True))
    model = BehaviorCloning(
        "MlpPolicy",
        task.target.make(),
        [episode for episode in episodes if len(episode[0]) >= 2],
        policy_kwargs={"net_arch": [task.hidden_width] * 2},
        seed=task.seed,
        device="cpu",
    )
    return source_act(model.learn(task.updates).policy), len(pairs)


def _sac_from_scratch(task: ArmTask, source: Act, folder: Path, num_envs: int) -> tuple[Act, int]:
    """Train SAC with the target's reward for as many steps as the MLP translator learns from."""
    steps = len(train_translator(task, source, "mlp", folder, num_envs).pairs)
    model = SAC(
        "MlpPolicy",
        DummyVecEnv([task.target.make] * 8),
        learning_rate=1e-3,
        gradient_steps=8,
        learning_starts=min(5_000, steps // 4),
        policy_kwargs={"net_arch": [128, 128]},
        seed=task.seed,
        device="cpu",
    )
    envs = model.get_env()
    assert envs is not None  # it was given one
    envs.seed(task.first_training_seed)  # the constructor's are those of tuning
    return source_act(model.learn(steps).policy), steps


def _exact(task: ArmTask) -> gymnasium.Env[Any, Any]:
    return ExactTranslationWrapper(task.target.make(), task.source.make())


def _translated(
    task: ArmTask, translator: ActionTranslator, source: SourcePolicy, render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    space: Any = source.policy.action_space  # a Box, as Robot.check saw to it
    return ActionTranslationWrapper(task.target.make(render_mode), translator, space)


def _figures(episodes: list[Episode]) -> dict[str, Any]:
    successes = [episode.success for episode in episodes]
    return {
        "reset_seeds": [episode.seed for episode in episodes],
        "returns": [episode.total_reward for episode in episodes],
        "lengths": [len(episode.actions) for episode in episodes],
        "successes": None if None in successes else [bool(success) for success in successes],
    }


def wrap_for_video(task: ArmTask, models: Path) -> tuple[MakeEnv, Act] | None:
    """Return a rendering env and the policy in it, for arms that need no training beyond their saved translator."""
    policy = task.load_source()
    source = policy.act()
    if task.arm == "source":
        return partial(task.source.make, "rgb_array"), source
    if task.arm == "untranslated":
        return partial(task.target.make, "rgb_array"), source
    if task.arm in TRANSLATORS and (models / f"{task.arm}-{task.seed}").is_dir():
        return partial(_translated, task, load(models / f"{task.arm}-{task.seed}"), policy, "rgb_array"), source
    return None
