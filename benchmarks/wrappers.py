"""What translation costs: steps per second of vector envs with and without, and the scalar wrapper's own time."""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
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
from generative_policies.atomic_files import write_file
from generative_policies.export import OnnxModel, export_onnx
from generative_policies.models import DistilledFlowModel
from generative_policies.rollouts.provenance import require_writable, write_json
from generative_policies.wrappers import ActionTranslationWrapper, vector

LEAST_RATIO = 0.7
LEAST_RATIO_EXPORTED = 0.8
EXPORTED = "student, exported"
LARGEST_OVERHEAD = 30.0  # microseconds


@dataclass(frozen=True)
class Settings:
    """Measure the translation wrapper around vector envs and around one env."""

    env: str = "HalfCheetah-v5"
    """Gymnasium id."""
    num_envs: tuple[int, ...] = (1, 16, 64)
    """Envs of a SyncVectorEnv."""
    hidden_widths: tuple[int, ...] = (32, 256)
    """Widths of the two hidden layers of the translators; the first, the library's default, has to keep the bounds."""
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
    found: dict[str, ActionTranslator | None] = {"bare": None}
    for width in settings.hidden_widths:
        found[f"mlp, {width}"] = MlpActionTranslator(action_dim, obs_dim, (width, width))
        found[f"flow, {width}"] = FlowActionPriorConditionedTranslator(action_dim, obs_dim, (width, width), num_steps=4)
    flow = FlowActionPriorConditionedTranslator(action_dim, obs_dim)
    student = flow.with_flow(DistilledFlowModel.of(flow.flow))
    found |= {"student": student, EXPORTED: exported(student)}
    # As checkpoints are loaded; in training mode, each prediction would switch every module back and forth.
    return {name: model if model is None else model.eval() for name, model in found.items()}


def exported(translator: ActionTranslator) -> ActionTranslator:
    """Return a translator's exported form."""
    with TemporaryDirectory() as folder:
        export_onnx(translator, Path(folder) / "translator.onnx")
        runner: ActionTranslator = OnnxModel.load(Path(folder) / "translator.onnx")
    return runner


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


class Clock:
    """Sums up how long a function takes."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        started = time.perf_counter()
        answer = self.function(*arguments, **options)
        self.seconds += time.perf_counter() - started
        return answer


def clock_microseconds() -> float:
    """Return what a clock adds to a call outside of its own measurement, with everything in the caches."""
    clock, count = Clock(len), 100_000
    started = time.perf_counter()
    for _ in range(count):
        clock(())
    clocked = time.perf_counter() - started - clock.seconds
    started = time.perf_counter()
    for _ in range(count):
        pass
    return 1e6 * (clocked - (time.perf_counter() - started)) / count


def scalar_microseconds(settings: Settings) -> dict[str, list[float]]:
    """Return the time of a wrapped step, and what of it is spent in the env and in the translator's ``predict``."""
    translator = translators(settings)[f"mlp, {settings.hidden_widths[0]}"]
    assert translator is not None
    env = gymnasium.make(settings.env)
    wrapped = ActionTranslationWrapper(env, translator)
    clocks = {"env": Clock(env.step), "predict": Clock(translator.predict)}
    env.step, translator.predict = clocks["env"], clocks["predict"]  # type: ignore[method-assign]
    space: Any = env.action_space
    rng = np.random.default_rng(settings.seed)
    actions = rng.uniform(space.low, space.high, (settings.env_steps, *space.shape)).astype(np.float32)
    times: dict[str, list[float]] = {"wrapped step": [], "env": [], "predict": []}
    for _ in tqdm(range(settings.repeats), desc="one env", unit="repeat"):
        wrapped.reset(seed=settings.seed)
        for clock in clocks.values():
            clock.seconds = 0.0
        started = time.perf_counter()
        for k, action in enumerate(actions):
            if k % 1_000 == 0:
                wrapped.reset(seed=settings.seed)
            wrapped.step(action)
        times["wrapped step"].append(1e6 * (time.perf_counter() - started) / len(actions))
        for name, clock in clocks.items():
            times[name].append(1e6 * clock.seconds / len(actions))
    return times


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether the bounds are kept."""
    torch.set_num_threads(1)
    require_writable(settings.output)
    rates = {num_envs: vector_rates(settings, num_envs) for num_envs in settings.num_envs}
    times = scalar_microseconds(settings)
    names = [name for name in translators(settings) if name != "bare"]
    lines = [f"| envs | bare [steps/s] | {' | ratio | '.join(names)} | ratio |", "|---" * (2 + 2 * len(names)) + "|"]
    ratios: dict[int, dict[str, float]] = {}
    for num_envs, found in rates.items():
        medians = {name: float(np.median(values)) for name, values in found.items()}
        ratios[num_envs] = {name: medians[name] / medians["bare"] for name in medians}
        cells = [f"{num_envs}", f"{medians['bare']:,.0f}"]
        for name in names:
            cells += [f"{medians[name]:,.0f}", f"{ratios[num_envs][name]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    medians = {name: float(np.median(values)) for name, values in times.items()}
    own = np.array(times["wrapped step"]) - times["env"] - times["predict"]
    overhead = float(np.median(own)) - 2 * clock_microseconds()
    command = " ".join(["python -m benchmarks.wrappers", *sys.argv[1:]])
    table = "\n".join(lines) + (
        f"\n\nOne env, {names[0]}: of the {medians['wrapped step']:.0f} µs of a step {medians['env']:.0f} µs are the "
        f"env's, {medians['predict']:.0f} µs the translator's predict's, and {overhead:.0f} µs the wrapper's own"
        ".\n\n"
        f"`{command}`: {settings.env}, {settings.env_steps} env steps a measurement, medians of {settings.repeats} "
        "taken in turn, one torch thread. Beside the name of a translator stands the width of its two hidden layers; "
        "flows take four steps. The student takes one, through three layers of 256.\n"
    )
    print(f"\n{table}")
    kept = (
        overhead <= LARGEST_OVERHEAD
        and 16 in ratios
        and ratios[16][names[0]] >= LEAST_RATIO
        and ratios[16][EXPORTED] >= LEAST_RATIO_EXPORTED
    )
    results = {
        "rates": rates,
        "ratios": ratios,
        "microseconds": times,
        "overhead": overhead,
        "kept": kept,
    }
    write_json(settings.output / "wrappers.json", settings, {"command": command, **results})
    write_file(settings.output / "wrappers.md", table)
    print(f"{settings.output}: wrappers.json and wrappers.md" + ("" if kept else "; MISSED"))
    return kept


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.wrappers")) else 1)
