"""SB3's SAC, as it is, learns a bounded correction on top of a translated expert, by the target's reward.

The translator has learned from relabelled data, without any reward. Ten minutes; ``--help`` tells the settings.
"""

from dataclasses import dataclass

import numpy as np
import torch
import tyro
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.envs import make_env
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import TranslatedPolicy
from generative_policies.rollouts import evaluate_arm, load_expert, relabel, run_episodes, source_act, transitions
from generative_policies.training import FitSettings, fit
from generative_policies.wrappers import ResidualActionWrapper, vec_env

ENV, SHIFT = "HalfCheetah-v5", "G"  # gear x 0.7


@dataclass(frozen=True)
class Settings:
    """Correct a translated expert with SAC."""

    env_steps: int = 25_000
    """Steps of the target that SAC takes."""
    episodes_at_home: int = 40
    """Episodes of the noisy expert at home, for the source's inverse dynamics."""
    target_episodes: int = 25
    """Episodes of the noisy expert on the target, for the translator."""
    updates: int = 10_000
    """Gradient steps of each training."""
    scale: float = 0.3
    """Size of the largest correction, as a share of half the action range."""
    episodes: int = 20
    """Episodes of each evaluation."""
    seed: int = 0
    """Of everything."""


def main(settings: Settings) -> dict[str, float]:
    """Translate, correct and print the mean returns."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    expert_policy = load_expert(ENV)
    expert, target = source_act(expert_policy), make_env(ENV, SHIFT)
    noise = np.resize([0.1, 0.3, 0.6, 1.0], settings.episodes_at_home).tolist()
    at_home = run_episodes(lambda: make_env(ENV), expert, range(1_000, 1_000 + len(noise)), exploration=noise)
    noise = np.resize([0.1, 0.2, 0.4], settings.target_episodes).tolist()
    on_target = run_episodes(lambda: make_env(ENV, SHIFT), expert, range(2_000, 2_000 + len(noise)), exploration=noise)
    inverse_dynamics = MlpInverseDynamics(action_dim=6, obs_dim=17, net_arch=(256, 256))
    translator = MlpActionTranslator(action_dim=6, obs_dim=17, net_arch=(256, 256))
    training = FitSettings(num_updates=settings.updates)
    fit(inverse_dynamics, transitions(at_home), training, generator=generator, progress=True)
    fit(translator, relabel(transitions(on_target), inverse_dynamics), training, generator=generator, progress=True)
    policy = TranslatedPolicy(target.observation_space, target.action_space, expert_policy, translator)

    envs = DummyVecEnv([lambda: make_env(ENV, SHIFT)] * 8)
    corrected = SAC(
        "MlpPolicy",
        VecMonitor(vec_env.ResidualActionWrapper(envs, policy, settings.scale)),
        learning_rate=1e-3,
        gradient_steps=8,
        learning_starts=3_000,
        policy_kwargs={"net_arch": [128, 128]},
        seed=settings.seed,
        device="cpu",
    )
    corrected.learn(settings.env_steps, progress_bar=True)

    def make_corrected() -> ResidualActionWrapper:
        return ResidualActionWrapper(make_env(ENV, SHIFT), policy, settings.scale)

    test_seeds = range(10_000, 10_000 + settings.episodes)
    arms = {
        "expert at home": (lambda: make_env(ENV), expert),
        "expert on the target": (lambda: make_env(ENV, SHIFT), expert),
        "expert translated": (lambda: make_env(ENV, SHIFT), source_act(policy)),
        "the same, corrected": (make_corrected, source_act(corrected.policy)),
    }
    results = {name: float(np.mean(evaluate_arm(*arm, test_seeds).returns)) for name, arm in arms.items()}
    for name, mean_return in results.items():
        print(f"{name}: {mean_return:.0f}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Settings))
