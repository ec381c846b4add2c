"""The main job in one command: a policy that fails on another robot works again through a learned translator."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Env

from generative_policies.action_translation import (
    ActionTranslator,
    FlowActionPriorConditionedTranslator,
    MlpActionTranslator,
)
from generative_policies.checkpoints import save
from generative_policies.envs import PUSHER_P1, DynamicsShift, make_env
from generative_policies.envs.rendering import RenderingUnavailableError
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.rollouts.aggregation import Rounds, aggregate, matching
from generative_policies.rollouts.episodes import Act, run_episodes, source_act, transitions
from generative_policies.rollouts.evaluation import ArmResult, evaluate_arm, format_table, report_arms
from generative_policies.rollouts.experts import load_expert
from generative_policies.rollouts.pairing import relabel
from generative_policies.rollouts.plots import plot_comparison
from generative_policies.rollouts.provenance import require_writable, write_json
from generative_policies.rollouts.video import VideoArm, write_comparison_video
from generative_policies.training import FitSettings, fit, initial_weights
from generative_policies.wrappers import ActionTranslationWrapper

ENV = "Pusher-v5"
SHIFT = PUSHER_P1
TRANSLATORS: Mapping[str, type[MlpActionTranslator] | type[FlowActionPriorConditionedTranslator]] = {
    "mlp": MlpActionTranslator,
    "flow_prior_conditioned": FlowActionPriorConditionedTranslator,
}


@dataclass(frozen=True)
class DemoSettings:
    """Translate a pusher's policy to a robot twice as heavy, with weaker motors and stiffer joints, and show it."""

    source_episodes: int = 400
    """Episodes of the source robot, with noisy actions, that its inverse dynamics learns from."""
    rounds: int = 3
    """Rounds of collecting on the target with the current translator, relabelling and retraining."""
    episodes_per_round: int = 25
    """Episodes of the target robot a round, two at least."""
    evaluation_episodes: int = 50
    """Episodes an arm, two at least, with reset seeds from 10,000."""
    video_episodes: int = 5
    """Of these, the first so many are shown in the video."""
    inverse_dynamics_updates: int = 20_000
    """Gradient steps of the source's inverse dynamics."""
    translator_updates: int = 8_000
    """Gradient steps of each translator in each round."""
    hidden_width: int = 256
    """Width of the two hidden layers of every network."""
    seed: int = 0
    """Seed of data, initial weights and training, from 0 to 8."""
    quick: bool = False
    """A short form that shows that everything runs; its figures mean nothing."""
    output: Path = Path("runs/demo")
    """Folder of the report, the plot, the video and the translators."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, low in (
            ("source_episodes", 2),
            ("rounds", 1),
            ("episodes_per_round", 2),
            ("evaluation_episodes", 2),
            ("video_episodes", 0),
            ("inverse_dynamics_updates", 1),
            ("translator_updates", 1),
            ("hidden_width", 1),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.hidden_width % 16:
            # Matrix products of other widths differ in the last bit between batches.
            raise ValueError(f"hidden_width must be a multiple of 16, got {self.hidden_width}")
        if not 0 <= self.seed <= 8:
            raise ValueError(f"seed must lie in 0 to 8, so that reset seeds stay below 10,000; got {self.seed}")
        if self.source_episodes > 500 or self.rounds * self.episodes_per_round > 500:
            raise ValueError("source_episodes and rounds * episodes_per_round must be at most 500")

    def effective(self) -> "DemoSettings":
        """Return the settings with the short form's sizes where it was asked for."""
        if not self.quick:
            return self
        return replace(
            self,
            source_episodes=20,
            rounds=2,
            episodes_per_round=4,
            evaluation_episodes=4,
            video_episodes=min(1, self.video_episodes),
            inverse_dynamics_updates=300,
            translator_updates=200,
        )

    @property
    def first_training_seed(self) -> int:
        """Reset seeds of a training lie in [1,000, 10,000), a thousand a seed."""
        return 1_000 * (self.seed + 1)


def demo(settings: DemoSettings) -> Path:
    """Train translators, compare them with the source policy at home and untranslated, and write report, plot, video.

    Args:
        settings: Sizes and seed.

    Returns:
        The path of ``report.json``.
    """
    settings = settings.effective()
    torch.set_num_threads(1)  # the networks are small: a second thread costs more than it brings
    require_writable(settings.output)
    started = time.monotonic()
    source = source_act(load_expert(ENV))
    inverse_dynamics = train_source_inverse_dynamics(source, settings)
    translators: dict[str, ActionTranslator] = {}
    for name in TRANSLATORS:
        translators[name] = train_translator(name, source, inverse_dynamics, settings)
        save(translators[name], settings.output / "translators" / name)

    seeds = [10_000 + k for k in range(settings.evaluation_episodes)]
    results = evaluate_arms(source, translators, seeds)
    arms = report_arms(results, np.random.default_rng(settings.seed))
    path = settings.output / "report.json"
    write_json(path, settings, {"arms": arms, "seeds": seeds, "seconds": round(time.monotonic() - started, 1)})
    plot_comparison(
        arms, settings.output / "comparison.png", f"{ENV}, {_describe(SHIFT)}, {len(seeds)} paired episodes"
    )
    print(format_table(arms))
    video = settings.output / "comparison.mp4"
    write_video(source, translators, seeds[: settings.video_episodes], video)
    written = [file.name for file in (path, settings.output / "comparison.png", video) if file.is_file()]
    print(f"{path.parent}: {', '.join(written)}; {time.monotonic() - started:.0f} s")
    return path


def train_source_inverse_dynamics(source: Act, settings: DemoSettings) -> MlpInverseDynamics:
    """Learn which action of the source robot leads from one observation to the next, from noisy episodes at home."""
    rng = np.random.default_rng([settings.seed, 0])
    episodes = run_episodes(
        lambda: make_env(ENV),
        source,
        [settings.first_training_seed + k for k in range(settings.source_episodes)],
        # From nearly the policy's own actions to noise that drowns them, in units of half the action range.
        exploration=list(rng.uniform(0.015, 0.6, settings.source_episodes)),
        progress="collect source episodes",
    )
    data = transitions(episodes)
    generator = torch.Generator().manual_seed(settings.seed)
    with initial_weights(generator):
        model = MlpInverseDynamics(data.actions.shape[1], data.obs.shape[1], [settings.hidden_width] * 2)
    fit_settings = FitSettings(num_updates=settings.inverse_dynamics_updates)
    fit(model, data, fit_settings, generator=generator, progress="train inverse dynamics")
    return model


def train_translator(
    name: str, source: Act, inverse_dynamics: MlpInverseDynamics, settings: DemoSettings
) -> ActionTranslator:
    """Collect with the current translator, relabel and retrain, round by round; the first collects untranslated."""
    generator = torch.Generator().manual_seed(settings.seed)
    learn = matching(
        lambda: TRANSLATORS[name](inverse_dynamics.action_dim, inverse_dynamics.obs_dim, [settings.hidden_width] * 2),
        lambda episodes: relabel(transitions(episodes), inverse_dynamics),
        FitSettings(num_updates=settings.translator_updates),
    )
    return aggregate(
        learn,
        source,
        lambda: make_env(ENV, SHIFT),
        Rounds(settings.rounds, settings.episodes_per_round),
        first_seed=settings.first_training_seed + 500,
        rng=np.random.default_rng([settings.seed, 1]),
        generator=generator,
        name=name,
    ).translator


def evaluate_arms(source: Act, translators: Mapping[str, ActionTranslator], seeds: list[int]) -> dict[str, ArmResult]:
    """Run the source at home, the source untranslated and every translator on the same seeds."""
    results = {
        "source": evaluate_arm(lambda: make_env(ENV), source, seeds, progress="evaluate source"),
        "untranslated": evaluate_arm(lambda: make_env(ENV, SHIFT), source, seeds, progress="evaluate untranslated"),
    }
    for name, translator in translators.items():

        def make_translated_env(translator: ActionTranslator = translator) -> Env[Any, Any]:
            return ActionTranslationWrapper(make_env(ENV, SHIFT), translator)

        results[name] = evaluate_arm(make_translated_env, source, seeds, progress=f"evaluate {name}")
    return results


def write_video(source: Act, translators: Mapping[str, ActionTranslator], seeds: list[int], path: Path) -> None:
    """Write source, untranslated and MLP-translated side by side, or say in a line why that cannot be."""
    if not seeds:
        path.unlink(missing_ok=True)
        return
    render = "rgb_array"
    panels = {
        "source robot": VideoArm(lambda: make_env(ENV, render_mode=render), source),
        "target, untranslated": VideoArm(lambda: make_env(ENV, SHIFT, render_mode=render), source),
        "target, translated": VideoArm(
            lambda: ActionTranslationWrapper(make_env(ENV, SHIFT, render_mode=render), translators["mlp"]), source
        ),
    }
    try:
        write_comparison_video(panels, seeds, path, fps=20)
    except RenderingUnavailableError as error:
        print(f"no video: {error}", file=sys.stderr)


def _describe(shift: DynamicsShift) -> str:
    return f"mass x {shift.mass:g}, friction x {shift.friction:g}, gear x {shift.gear:g}, damping x {shift.damping:g}"
