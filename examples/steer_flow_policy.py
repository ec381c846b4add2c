"""SB3's SAC, as it is, steers a frozen flow policy on a robot with weaker motors, by the flow's starting noise.

The flow is cloned from a noisy expert at home, so that it knows many ways to move; SAC finds those that pay on the
target. Ten minutes; ``--help`` tells the settings.
"""

from dataclasses import dataclass

import numpy as np
import torch
import tyro
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from generative_policies.envs import make_env
from generative_policies.policies import BehaviorCloning
from generative_policies.rollouts import evaluate_arm, load_expert, run_episodes, source_act
from generative_policies.wrappers import LatentActionWrapper, vec_env

ENV, SHIFT = "HalfCheetah-v5", "G"  # gear x 0.7


@dataclass(frozen=True)
class Settings:
    """Steer a flow policy with SAC."""

    env_steps: int = 50_000
    """Steps of the target."""
    demonstrations: int = 20
    """Episodes of the noisy expert at home."""
    clone_updates: int = 10_000
    """Gradient steps of the cloning."""
    episodes: int = 20
    """Episodes of each evaluation."""
    seed: int = 0
    """Of everything."""


def main(settings: Settings) -> dict[str, float]:
    """Clone, steer and print the mean returns."""
    torch.set_num_threads(1)
    expert = source_act(load_expert(ENV))
    seeds = range(1_000, 1_000 + settings.demonstrations)
    shown = run_episodes(lambda: make_env(ENV), expert, seeds, exploration=[0.4] * len(seeds), progress="demonstrate")
    cloning = BehaviorCloning("FlowPolicy", make_env(ENV), shown, policy_kwargs={"num_steps": 4}, seed=settings.seed)
    policy = cloning.learn(settings.clone_updates, progress_bar=True).policy

    envs = DummyVecEnv([lambda: make_env(ENV, SHIFT)] * 8)
    steered = SAC(
        "MlpPolicy",
        VecMonitor(vec_env.LatentActionWrapper(envs, policy)),
        learning_rate=1e-3,
        gradient_steps=8,
        learning_starts=3_000,
        policy_kwargs={"net_arch": [128, 128]},
        seed=settings.seed,
        device="cpu",
    )
    steered.learn(settings.env_steps, progress_bar=True)

    test_seeds = range(10_000, 10_000 + settings.episodes)
    arms = {
        "expert at home": (lambda: make_env(ENV), expert),
        "flow policy on the target": (lambda: make_env(ENV, SHIFT), source_act(policy, deterministic=False)),
        "the same, steered": (lambda: LatentActionWrapper(make_env(ENV, SHIFT), policy), source_act(steered.policy)),
    }
    results = {name: float(np.mean(evaluate_arm(*arm, test_seeds).returns)) for name, arm in arms.items()}
    for name, mean_return in results.items():
        print(f"{name}: {mean_return:.0f}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Settings))
