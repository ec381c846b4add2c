"""What translation costs: steps per second of vector envs with and without, and the scalar wrapper's own time."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium.vector import SyncVectorEnv
from tqdm import tqdm

from generative_policies.action_translation import (
    ActionTranslator,
    FlowActionPriorConditionedTranslator,
    MlpActionTranslator,
)
from generative_policies.data import pad_rows
from generative_policies.rollouts.provenance import require_writable, write_json
from generative_policies.wrappers import ActionTranslationWrapper, vector

LEAST_RATIO = 0.7
LARGEST_OVERHEAD = 30.0  # microseconds


@dataclass(frozen=True)
class Settings:
    """Measure the translation wrapper around vector envs and around one env."""

    env: str = "HalfCheetah-v5"
    """Gymnasium id."""
    num_envs: tuple[int, ...] = (1, 16, 64)
    """Envs of a SyncVectorEnv."""
    hidden_width: int = 256
    """Width of the two hidden layers of each translator."""
    env_steps: int = 4_000
    """Env steps of a measurement."""
    repeats: int = 7
    """Measurements of each kind, taken in turn; their median counts."""
    seed: int = 0
    """Of the resets and actions."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON and the table."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if min(self.num_envs, default=0) < 1 or self.env_steps < max(self.num_envs) or self.repeats < 1:
            raise ValueError(
                f"expected at least one env, as many steps as envs and one repeat, got num_envs={self.num_envs}, "
                f"env_steps={self.env_steps}, repeats={self.repeats}"
            )


def translators(settings: Settings) -> dict[str, ActionTranslator | None]:
    """Return what is measured by name; ``None`` stands for no wrapper."""
    probe: Any = gymnasium.make(settings.env)
    action_dim, obs_dim = probe.action_space.shape[0], probe.observation_space.shape[0]
    net_arch = (settings.hidden_width, settings.hidden_width)
    return {
        "bare": None,
        "mlp": MlpActionTranslator(action_dim, obs_dim, net_arch),
        "flow, four steps": FlowActionPriorConditionedTranslator(action_dim, obs_dim, net_arch, num_steps=4),
    }


def vector_rates(settings: Settings, num_envs: int) -> dict[str, list[float]]:
    """Return env steps per second, one entry a repeat."""
    make = partial(gymnasium.make, settings.env)
    cases: dict[str, Any] = {}
    for name, translator in translators(settings).items():
        envs = SyncVectorEnv([make] * num_envs)
        cases[name] = envs if translator is None else vector.ActionTranslationWrapper(envs, translator)
    rng = np.random.default_rng(settings.seed)
    count = settings.env_steps // num_envs
    space = cases["bare"].single_action_space
    actions = rng.uniform(space.low, space.high, (count, num_envs, *space.shape)).astype(np.float32)
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in tqdm(range(settings.repeats), desc=f"{num_envs} envs", unit="repeat"):
        for name, envs in cases.items():
            envs.reset(seed=settings.seed)
            started = time.perf_counter()
            for action in actions:
                envs.step(action)
            rates[name].append(count * num_envs / (time.perf_counter() - started))
    return rates


def scalar_microseconds(settings: Settings) -> dict[str, list[float]]:
    """Return the time of a step by the bare env, by the wrapped one, and of ``predict`` on the same arrays."""
    translator = translators(settings)["mlp"]
    assert translator is not None
    bare = gymnasium.make(settings.env)
    wrapped = ActionTranslationWrapper(gymnasium.make(settings.env), translator)
    space: Any = bare.action_space
    rng = np.random.default_rng(settings.seed)
    actions = rng.uniform(space.low, space.high, (settings.env_steps // 4, *space.shape)).astype(np.float32)
    # The untrained translator is the identity: both envs go the same way.
    observations = [bare.reset(seed=settings.seed)[0]]
    observations += [bare.step(action)[0] for action in actions[:-1]]
    rows = [
        (pad_rows(observation[None]), pad_rows(action[None]))
        for observation, action in zip(observations, actions, strict=True)
    ]

    def step(env: gymnasium.Env[Any, Any]) -> None:
        env.reset(seed=settings.seed)
        for action in actions:
            env.step(action)

    def predict() -> None:
        for observation, action in rows:
            translator.predict(observation, action)

    kinds: dict[str, Callable[[], None]] = {
        "bare step": partial(step, bare),
        "wrapped step": partial(step, wrapped),
        "predict": predict,
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in tqdm(range(settings.repeats), desc="one env", unit="repeat"):
        for name, run in kinds.items():
            started = time.perf_counter()
            run()
            times[name].append(1e6 * (time.perf_counter() - started) / len(actions))
    return times


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether the bounds are kept."""
    torch.set_num_threads(1)
    require_writable(settings.output)
    rates = {num_envs: vector_rates(settings, num_envs) for num_envs in settings.num_envs}
    times = scalar_microseconds(settings)
    lines = ["| envs | bare [steps/s] | mlp | ratio | flow, four steps | ratio |", "|---|---|---|---|---|---|"]
    ratios: dict[int, dict[str, float]] = {}
    for num_envs, found in rates.items():
        medians = {name: float(np.median(values)) for name, values in found.items()}
        ratios[num_envs] = {name: medians[name] / medians["bare"] for name in medians}
        cells = [f"{num_envs}", f"{medians['bare']:,.0f}"]
        for name in ("mlp", "flow, four steps"):
            cells += [f"{medians[name]:,.0f}", f"{ratios[num_envs][name]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    medians = {name: float(np.median(values)) for name, values in times.items()}
    # Each repeat against its own neighbours in time.
    overhead = float(np.median(np.array(times["wrapped step"]) - np.array(times["bare step"]) - times["predict"]))
    command = " ".join(["python -m benchmarks.wrappers", *sys.argv[1:]])
    table = "\n".join(lines) + (
        f"\n\nOne env: {medians['bare step']:.0f} µs a step bare, {medians['wrapped step']:.0f} µs translated, of which "
        f"{medians['predict']:.0f} µs are the translator's and {overhead:.0f} µs the wrapper's own.\n\n"
        f"`{command}`: {settings.env}, {settings.env_steps} env steps a measurement, medians of {settings.repeats} "
        f"taken in turn, one torch thread; translators with two hidden layers of {settings.hidden_width}.\n"
    )
    print(f"\n{table}")
    kept = overhead <= LARGEST_OVERHEAD and ratios.get(16, {"mlp": 1.0})["mlp"] >= LEAST_RATIO
    results = {"rates": rates, "ratios": ratios, "microseconds": times, "overhead": overhead, "kept": kept}
    write_json(settings.output / "wrappers.json", settings, {"command": command, **results})
    (settings.output / "wrappers.md").write_text(table)
    print(f"{settings.output}: wrappers.json and wrappers.md" + ("" if kept else "; MISSED"))
    return kept


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.wrappers")) else 1)
