"""Random data in open loop against the simulator alone, on all cores, in the same run."""

import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from generative_policies.atomic_files import write_file
from generative_policies.envs import ExactDynamics, make_env, set_state
from generative_policies.rollouts import PhysicsEpisodes, collect_random
from generative_policies.rollouts.provenance import require_writable, write_json

LEAST_SHARE = 0.8


@dataclass(frozen=True)
class Settings:
    """Measure random collection against mj_step alone, from the same states and with the same actions."""

    envs: tuple[str, ...] = ("HalfCheetah-v5", "Pusher-v5", "Ant-v5", "generative_policies/ArmPush2-v0")
    """Gymnasium ids of MuJoCo envs."""
    episodes: int = 64
    """Episodes of a measurement."""
    steps: int = 500
    """Env steps of an episode."""
    repeats: int = 5
    """Measurements of each kind, taken in turn; their median counts."""
    seed: int = 1_000
    """The first reset seed."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON and the table."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("episodes", "steps", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def native_seconds(env_id: str, episodes: PhysicsEpisodes, processes: int) -> float:
    """Return how long mj_step takes for the same steps, in processes that share nothing, models already loaded."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit the simulator's threads
    barrier = context.Barrier(processes)
    shares = np.array_split(np.arange(len(episodes.seeds)), processes)
    with context.Pool(processes, initializer=_remember, initargs=(barrier,)) as pool:
        work = [(env_id, episodes.initial_states[rows], episodes.actions[rows]) for rows in shares]
        spans = np.array(pool.map(_step_natively, work, chunksize=1))
    return float(spans[:, 1].max() - spans[:, 0].min())


def measure(env_id: str, settings: Settings) -> dict[str, Any]:
    """Return the rates of one env, in simulator steps per second."""
    cores = os.cpu_count() or 1
    make = partial(make_env, env_id)
    seeds = range(settings.seed, settings.seed + settings.episodes)
    seconds: dict[str, list[float]] = {"native": [], "collected": [], "observed": []}
    frame_skip = ExactDynamics(make()).frame_skip
    for _ in tqdm(range(settings.repeats), desc=env_id, unit="repeat"):
        started = time.perf_counter()
        episodes = collect_random(make, seeds, settings.steps)
        seconds["collected"].append(time.perf_counter() - started)
        episodes.transitions(make())
        seconds["observed"].append(time.perf_counter() - started)
        seconds["native"].append(native_seconds(env_id, episodes, cores))
    count = settings.episodes * settings.steps * frame_skip
    rates = {name: count / float(np.median(values)) for name, values in seconds.items()}
    return {
        "simulator_steps": count,
        "cores": cores,
        "seconds": seconds,
        "rates": rates,
        "share": rates["collected"] / rates["native"],
        "share_with_observations": rates["observed"] / rates["native"],
        "kept": rates["collected"] >= LEAST_SHARE * rates["native"],
    }


def format_table(reports: dict[str, dict[str, Any]]) -> str:
    """Return the reports as a table in Markdown."""
    lines = [
        "| env | mj_step alone [steps/s] | physics collected | share | ... and observed | share |",
        "|---|---|---|---|---|---|",
    ]
    for env_id, report in reports.items():
        rates = report["rates"]
        lines.append(
            f"| {env_id} | {rates['native']:,.0f} | {rates['collected']:,.0f} | {report['share']:.2f} "
            f"| {rates['observed']:,.0f} | {report['share_with_observations']:.2f} |"
        )
    return "\n".join(lines)


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether collection is fast enough."""
    require_writable(settings.output)
    reports = {env_id: measure(env_id, settings) for env_id in settings.envs}
    command = " ".join(["python -m benchmarks.collection", *sys.argv[1:]])
    table = (
        f"{format_table(reports)}\n\n`{command}`, {os.cpu_count()} cores: the same {settings.episodes} episodes of "
        f"{settings.steps} env steps each, medians of {settings.repeats} measurements taken in turn. Collecting "
        "includes making the env and its resets; observing runs the env's own Python, one state after the other.\n"
    )
    print(f"\n{table}")
    write_json(settings.output / "collection.json", settings, {"command": command, "envs": reports})
    write_file(settings.output / "collection.md", table)
    missed = [env_id for env_id, report in reports.items() if not report["kept"]]
    print(f"{settings.output}: collection.json and collection.md" + (f"; MISSED: {missed}" if missed else ""))
    return not missed


_barrier: Barrier | None = None


def _remember(barrier: Barrier) -> None:
    """Keep a process's barrier, which cannot be sent with its work."""
    global _barrier
    _barrier = barrier


def _step_natively(work: tuple[str, NDArray[Any], NDArray[Any]]) -> tuple[float, float]:
    """Step a share of the episodes and return when it began and ended, on the clock that all processes share."""
    env_id, initial_states, actions = work
    env: gymnasium.Env[Any, Any] = make_env(env_id)
    env.reset(seed=0)
    base: Any = env.unwrapped
    model, data, frame_skip = base.model, base.data, base.frame_skip
    assert _barrier is not None
    _barrier.wait()
    started = time.perf_counter()
    for initial_state, episode in zip(initial_states, actions, strict=True):
        set_state(env, initial_state)
        for action in episode:
            data.ctrl[:] = action
            mujoco.mj_step(model, data, nstep=frame_skip)
    return started, time.perf_counter()


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.collection")) else 1)
