"""SAC on top of frozen policies: over a flow's starting noise, and as a correction, beside SAC from scratch."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
import tyro
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor
from tqdm import tqdm

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.atomic_files import replacing, write_file
from generative_policies.envs import make_env
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import BehaviorCloning, FlowPolicy, TranslatedPolicy
from generative_policies.rollouts import (
    Act,
    evaluate_arm,
    load_expert,
    relabel,
    run_episodes,
    source_act,
    transitions,
)
from generative_policies.rollouts.provenance import require_writable, write_json
from generative_policies.training import FitSettings, fit, initial_weights
from generative_policies.wrappers import LatentActionWrapper, ResidualActionWrapper, vec_env

LEAST_LIFT = 0.5
Arm = Literal["latent", "latent in chunks", "correction of the translated expert", "from scratch"]
ARMS: tuple[Arm, ...] = ("latent", "latent in chunks", "correction of the translated expert", "from scratch")
CHUNK = 4
NUM_ENVS = 8
# The seconds of a unit on two cores, for the forecast.
SECONDS: Mapping[Arm, int] = {
    "latent": 300,
    "latent in chunks": 300,
    "correction of the translated expert": 300,
    "from scratch": 240,
}


@dataclass(frozen=True)
class Settings:
    """Steer and correct frozen policies on a shifted robot with SB3's SAC."""

    env: str = "HalfCheetah-v5"
    """Gymnasium id with a shipped expert."""
    shift: str = "G"
    """Name of the target's shift."""
    arms: tuple[Arm, ...] = ARMS
    """What is trained."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds, of demonstrations, weights and SAC."""
    env_steps: int = 50_000
    """Steps of the target that SAC takes."""
    evaluations: int = 5
    """Points of the learning curve; the last policy is the one that counts."""
    curve_episodes: int = 20
    """Episodes of each point, with reset seeds from 0."""
    episodes: int = 100
    """Episodes of the final figures, with reset seeds from 10,000."""
    demonstrations: int = 20
    """Episodes of the expert at home that the flow is cloned from."""
    exploration: float = 0.4
    """Noise on the demonstrations, in units of half the action range: what the flow can do beside the best."""
    updates: int = 10_000
    """Gradient steps of each cloning and each training of a translator."""
    target_episodes: int = 25
    """Episodes on the target that the translator learns from; its steps are not among ``env_steps``."""
    scale: float = 0.3
    """Size of the largest correction, as a share of half the action range."""
    processes: int = 2
    """Trainings at the same time, one torch thread each."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON, the table and the plot."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.arms or not self.seeds or min(self.episodes, self.curve_episodes) < 1:
            raise ValueError(f"expected an arm, a seed and an episode, got {self}")
        if min(self.evaluations, self.updates, self.processes, self.demonstrations, self.target_episodes) < 1:
            raise ValueError(f"expected positive numbers, got {self}")
        if self.env_steps < self.evaluations * NUM_ENVS * CHUNK:
            raise ValueError(f"env_steps must hold {self.evaluations} evaluations, got {self.env_steps}")


def run_unit(arm: Arm, seed: int, settings: Settings) -> dict[str, Any]:
    """Train one arm with one seed, and evaluate it."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    make = partial(make_env, settings.env, settings.shift)
    base: dict[str, float] = {}
    venv: VecEnv = DummyVecEnv([make] * NUM_ENVS)
    wrap: Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]] = lambda env: env  # noqa: E731
    steps = 1
    if arm in ("latent", "latent in chunks"):
        steps = CHUNK if arm == "latent in chunks" else 1
        flow = clone(seed, steps, settings)
        base["policy alone"] = final_return(make, source_act(flow, deterministic=False), settings)
        base["policy alone, deterministic"] = final_return(make, source_act(flow), settings)
        wrap = partial(LatentActionWrapper, policy=flow)
        venv = (
            vec_env.LatentActionWrapper(venv, flow)
            if steps == 1
            else DummyVecEnv([lambda: LatentActionWrapper(make(), flow, block=1)] * NUM_ENVS)
        )
    elif arm == "correction of the translated expert":
        policy = translated_expert(seed, settings)
        base["policy alone"] = final_return(make, source_act(policy), settings)
        wrap = partial(ResidualActionWrapper, policy=policy, scale=settings.scale)
        venv = vec_env.ResidualActionWrapper(venv, policy, settings.scale)
    learner = SAC(
        "MlpPolicy",
        VecMonitor(venv),
        learning_rate=1e-3,
        train_freq=1,
        gradient_steps=NUM_ENVS * steps,  # one an env step in every arm
        learning_starts=3_000 // steps,
        gamma=0.99**steps,
        policy_kwargs={"net_arch": [128, 128]},
        seed=seed,
        device="cpu",
    )
    curve = []
    for _ in range(settings.evaluations):
        learner.learn(settings.env_steps // steps // settings.evaluations, reset_num_timesteps=False)
        result = evaluate_arm(lambda: wrap(make()), source_act(learner.policy), range(settings.curve_episodes))
        curve.append([learner.num_timesteps * steps, float(np.mean(result.returns))])
    return {
        "arm": arm,
        "seed": seed,
        "return": final_return(lambda: wrap(make()), source_act(learner.policy), settings),
        **base,
        "curve": curve,
        "seconds": time.perf_counter() - started,
    }


def final_return(make: Callable[[], gymnasium.Env[Any, Any]], act: Act, settings: Settings) -> float:
    """Return the mean return on the test seeds."""
    seeds = range(10_000, 10_000 + settings.episodes)
    return float(np.mean(evaluate_arm(make, act, seeds, num_envs=32).returns))


def clone(seed: int, horizon: int, settings: Settings) -> FlowPolicy:
    """Clone a flow policy from the noisy expert at home."""
    first = 1_000 + 1_000 * seed
    count = settings.demonstrations
    shown = run_episodes(
        partial(make_env, settings.env),
        source_act(load_expert(settings.env)),
        range(first, first + count),
        exploration=[settings.exploration] * count,
    )
    model = BehaviorCloning(
        "FlowPolicy",
        make_env(settings.env),
        shown,
        policy_kwargs={"horizon": horizon, "num_steps": 4},
        seed=seed,
        device="cpu",
    )
    policy = model.learn(settings.updates).policy
    assert isinstance(policy, FlowPolicy)
    return policy


def translated_expert(seed: int, settings: Settings) -> TranslatedPolicy:
    """Translate the expert by relabelled data of the target, without its reward."""
    expert, target = load_expert(settings.env), make_env(settings.env, settings.shift)
    width: Any = target.action_space.shape
    obs_dim: Any = target.observation_space.shape
    first = 1_000 + 1_000 * seed

    def collect(shift: str | None, begin: int, noise: Sequence[float]) -> Any:
        seeds = range(begin, begin + len(noise))
        make = partial(make_env, settings.env, shift)
        return transitions(run_episodes(make, source_act(expert), seeds, exploration=noise))

    at_home = collect(None, first, np.resize([0.1, 0.3, 0.6, 1.0], 40).tolist())
    on_target = collect(settings.shift, first + 500, np.resize([0.1, 0.2, 0.4], settings.target_episodes).tolist())
    generator = torch.Generator().manual_seed(seed)
    with initial_weights(generator):
        inverse_dynamics = MlpInverseDynamics(width[0], obs_dim[0], (256, 256))
        translator = MlpActionTranslator(width[0], obs_dim[0], (256, 256))
    training = FitSettings(num_updates=settings.updates)
    fit(inverse_dynamics, at_home, training, generator=generator)
    fit(translator, relabel(on_target, inverse_dynamics), training, generator=generator)
    return TranslatedPolicy(target.observation_space, target.action_space, expert, translator)


def summarize(units: Sequence[dict[str, Any]], references: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return each arm's figures over the training seeds."""
    found = {}
    for arm in dict.fromkeys(unit["arm"] for unit in units):
        runs = [unit for unit in units if unit["arm"] == arm]
        figures: dict[str, Any] = {
            name: [run[name] for run in runs]
            for name in ("return", "policy alone", "policy alone, deterministic", "seconds")
            if name in runs[0]
        }
        if "policy alone" in figures:
            expert = references["expert at home"]
            figures["lift"] = [(run["return"] - run["policy alone"]) / (expert - run["policy alone"]) for run in runs]
        found[arm] = figures
    return found


def format_table(arms: Mapping[str, Mapping[str, Any]], references: Mapping[str, float]) -> str:
    """Return the figures as a table in Markdown."""

    def spread(values: Sequence[float], digits: int = 0) -> str:
        mean, low, high = np.mean(values), min(values), max(values)
        return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    lines = ["| arm | policy alone | with SAC | lift | minutes |", "|---|---|---|---|---|"]
    for name, value in references.items():
        lines.append(f"| {name} | {value:.0f} | | | |")
    for arm, figures in arms.items():
        cells = [
            arm,
            spread(figures["policy alone"]) if "policy alone" in figures else "",
            spread(figures["return"]),
            spread(figures["lift"], 2) if "lift" in figures else "",
            f"{np.mean(figures['seconds']) / 60:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(units: Sequence[dict[str, Any]], references: Mapping[str, float], settings: Settings) -> Figure:
    """Return the learning curves, a line a seed."""
    figure = Figure(figsize=(6.5, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colors = dict(zip(ARMS, ("#0072B2", "#56B4E9", "#D55E00", "#7f7f7f"), strict=True))
    for unit in units:
        start = [[0, unit["policy alone"]]] if "policy alone" in unit else []
        steps, returns = np.array([*start, *unit["curve"]]).T
        label = unit["arm"] if unit["seed"] == settings.seeds[0] else None
        axes.plot(steps / 1_000, returns, color=colors[unit["arm"]], label=label, linewidth=1.5)
    for style, (name, value) in zip(("-", "--"), references.items(), strict=False):
        axes.axhline(value, color="black", linestyle=style, linewidth=0.8)
        axes.annotate(name, (0, value), fontsize=7, va="bottom")
    axes.set(
        xlabel="steps on the target [thousands]",
        ylabel="mean return",
        title=f"{settings.env}, shift {settings.shift}: SAC on top of frozen policies",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether steering keeps its bound."""
    require_writable(settings.output)
    pairs: list[tuple[Arm, int]] = [(arm, seed) for seed in settings.seeds for arm in settings.arms]
    expected = sum(SECONDS[arm] for arm, _ in pairs) * settings.env_steps / 50_000 / settings.processes / 60
    print(f"{len(pairs)} units, {settings.processes} at a time: about {expected:.0f} minutes on two cores")
    expert = source_act(load_expert(settings.env))
    torch.set_num_threads(1)
    references = {
        "expert at home": final_return(partial(make_env, settings.env), expert, settings),
        "expert on the target": final_return(partial(make_env, settings.env, settings.shift), expert, settings),
    }
    units: dict[tuple[Arm, int], dict[str, Any]] = {}
    with ProcessPoolExecutor(settings.processes) as pool:
        waiting = {pool.submit(run_unit, arm, seed, settings): (arm, seed) for arm, seed in pairs}
        for done in tqdm(as_completed(waiting), total=len(pairs), desc="units", unit="unit"):
            units[waiting[done]] = done.result()
    ordered = [units[pair] for pair in pairs]
    arms = summarize(ordered, references)
    command = " ".join(["python -m benchmarks.steering", *sys.argv[1:]])
    text = (
        f"{format_table(arms, references)}\n\n`{command}`: {settings.env}, shift {settings.shift}; mean returns of "
        f"{settings.episodes} paired episodes, mean [worst, best] over training seeds "
        f"{', '.join(str(seed) for seed in settings.seeds)}; {settings.env_steps} steps of the target for SAC, one "
        "gradient step each. Lift: the share of the distance from the policy alone to the expert at home. The flow "
        f"was cloned from {settings.demonstrations} episodes of the expert at home with noise {settings.exploration}; "
        f"the translator saw {settings.target_episodes} episodes of the target more, without reward. Chunks are of "
        f"{CHUNK} steps, taken whole.\n"
    )
    print(f"\n{text}")
    steered = [arm for arm in ("latent", "latent in chunks") if arm in arms]
    kept = not steered or max(float(np.mean(arms[arm]["lift"])) for arm in steered) >= LEAST_LIFT
    results = {"command": command, "references": references, "arms": arms, "kept": kept, "units": ordered}
    write_json(settings.output / "steering.json", settings, results)
    write_file(settings.output / "steering.md", text)
    with replacing(settings.output / "steering.png") as new:
        plot(ordered, references, settings).savefig(new, dpi=150)
    print(f"{settings.output}: steering.json, steering.md and steering.png" + ("" if kept else "; MISSED"))
    return kept


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.steering")) else 1)
