"""Cloning with flows, by regression, and from states alone, beside the expert: three tasks on the same reset seeds."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.minimal_iterative_policy import MinimalIterativePolicy
from generative_policies.atomic_files import write_file
from generative_policies.data import Demonstrations, NextStateDataset, TransitionDataset, episode_generator
from generative_policies.data.episode_generator import Stream
from generative_policies.envs import DetourController, make_env
from generative_policies.inverse_dynamics import MlpInverseDynamics
from generative_policies.policies import BehaviorCloning, ClonedPolicy, FlowPlanner, FlowPolicy, InverseDynamicsPolicy
from generative_policies.rollouts import (
    Act,
    Episode,
    EpisodeContext,
    load_expert,
    random_act,
    run_episodes,
    source_act,
    transitions,
)
from generative_policies.rollouts.provenance import read_json, require_writable, same_settings, versions, write_json
from generative_policies.training import FitSettings, fit, initial_weights

FLOW_STEPS = (1, 2, 4, 10, 100)
# What the figures are held against.
LEAST_CLONED = 0.9  # of the expert's return, flow and regression, on the locomotion task
LEAST_FLOW_SUCCESS, LARGEST_MLP_SUCCESS, LEAST_MODE = 0.95, 0.2, 0.35  # in chunks, on the obstacle
LEAST_STATE_ONLY = 0.95  # of the flow's return, on two tasks


@dataclass(frozen=True)
class Task:
    """A task and how much is learned from.

    Attributes:
        env_id: Gymnasium id.
        expert: Name of a shipped expert, ``None`` for the detour controller, left or right at random.
        demonstrations: Episodes of the expert.
        random_episodes: Episodes of random actions, for the inverse dynamics.
        own_episodes: Episodes of a round of its own rollouts, for the inverse dynamics.
        horizon: Steps that are planned in the rows with chunks.
        replan_interval: Steps of a chunk that are taken.
    """

    env_id: str
    expert: str | None
    demonstrations: int
    random_episodes: int
    own_episodes: int
    horizon: int
    replan_interval: int


TASKS: Mapping[str, Task] = {
    "obstacle": Task("generative_policies/ArmObstacle-v0", None, 400, 200, 100, 16, 8),
    "half_cheetah": Task("HalfCheetah-v5", "HalfCheetah-v5", 20, 20, 10, 4, 2),
    "arm_push": Task("generative_policies/ArmPush2-v0", "ArmPush2-v0", 100, 100, 50, 4, 2),
}


@dataclass(frozen=True)
class Settings:
    """Clone experts, and print what the clones reach."""

    tasks: tuple[Literal["obstacle", "half_cheetah", "arm_push"], ...] = ("obstacle", "half_cheetah", "arm_push")
    """Names of tasks."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds, of demonstrations, weights and batches."""
    episodes: int = 100
    """Episodes of each row, with reset seeds from ``first_seed``."""
    first_seed: int = 10_000
    """The first reset seed; tuning was done at 0."""
    updates: int = 10_000
    """Gradient steps of each training, inverse dynamics half as many a round."""
    rounds: int = 3
    """Trainings of the inverse dynamics, each after the first with a round of its own rollouts more."""
    net_arch: tuple[int, ...] = (256, 256, 256)
    """Hidden widths of all networks."""
    processes: int = 2
    """Trainings at the same time, one torch thread each."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON and the table."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.tasks or not self.seeds or min(self.episodes, self.updates, self.rounds, self.processes) < 1:
            raise ValueError(f"expected a task, a seed, an episode, an update, a round and a process, got {self}")
        if not all(0 <= seed <= 2 for seed in self.seeds):
            raise ValueError(
                f"seeds must be of 0, 1 and 2, whose reset seeds stay below those of tests; got {self.seeds}"
            )


class Scores(NamedTuple):
    """What a row did, an entry an episode, and in which share of its successes it went left."""

    returns: list[float]
    successes: list[bool] | None
    left: float | None


def expert_act(task: Task) -> Act:
    """Return the expert of a task; those of arms see the task's part of the observation alone."""
    if task.expert is None:
        return _detour(task)
    policy = load_expert(task.expert)
    width = policy.observation_space.shape
    assert width is not None  # of a Box
    act = source_act(policy)
    return lambda observations, contexts: act(observations[:, : width[0]], contexts)


def _detour(task: Task) -> Act:
    env: Any = make_env(task.env_id).unwrapped
    controllers = [DetourController(env.arm, "left"), DetourController(env.arm, "right")]

    def act(observations: NDArray[Any], contexts: Sequence[EpisodeContext]) -> NDArray[Any]:
        sides = [int(episode_generator(context.seed, 0, Stream.POLICY).integers(2)) for context in contexts]
        rows = [controllers[side].act(row) for side, row in zip(sides, observations, strict=True)]
        return np.stack(rows)

    return act


def run_unit(name: str, seed: int, settings: Settings) -> dict[str, Any]:
    """Train and evaluate all rows of a task with one training seed."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    task = TASKS[name]
    probe = make_env(task.env_id)
    test_seeds = range(settings.first_seed, settings.first_seed + settings.episodes)
    rows: dict[str, Scores] = {}

    def evaluate(row: str, act: Act) -> None:
        rows[row] = scores(task, run_episodes(lambda: make_env(task.env_id), act, test_seeds, num_envs=100))

    def clone(policy: str | type[ClonedPolicy], **arguments: Any) -> ClonedPolicy:
        model = BehaviorCloning(
            policy,
            probe,
            demonstrations,
            seed=seed,
            device="cpu",
            policy_kwargs={"net_arch": settings.net_arch, **arguments},
        )
        return model.learn(settings.updates).policy

    expert = expert_act(task)
    evaluate("random", random_act(probe.action_space))
    evaluate("expert", expert)
    first = 1_000 + 1_000 * seed
    shown = run_episodes(lambda: make_env(task.env_id), expert, range(first, first + task.demonstrations), num_envs=100)
    demonstrations = Demonstrations.from_episodes(shown, probe.observation_space, probe.action_space)
    chunks = {"horizon": task.horizon, "replan_interval": task.replan_interval}
    for suffix, arguments in (("", {}), (" in chunks", chunks)):
        evaluate(f"mlp{suffix}", source_act(clone("MlpPolicy", **arguments)))
        evaluate(f"mip, 2 steps{suffix}", source_act(clone(MinimalIterativePolicy, **arguments)))
        flow = clone("FlowPolicy", **arguments)
        assert isinstance(flow, FlowPolicy)
        for steps in FLOW_STEPS:
            flow.num_steps = steps
            evaluate(f"flow{suffix}, {steps} steps", source_act(flow, deterministic=False))
        flow.num_steps = 10
        evaluate(f"flow{suffix}, 10 steps, deterministic", source_act(flow))
    policy, transitions_used = state_only(task, probe, demonstrations, seed, settings)
    evaluate("planner and inverse dynamics", source_act(policy, deterministic=False))
    evaluate("planner and inverse dynamics, deterministic", source_act(policy))
    return {
        "task": name,
        "seed": seed,
        "rows": {row: found._asdict() for row, found in rows.items()},
        "demonstrated_steps": len(demonstrations),
        "transitions_of_inverse_dynamics": transitions_used,
        "seconds": time.perf_counter() - started,
    }


def state_only(
    task: Task, probe: gymnasium.Env[Any, Any], demonstrations: Demonstrations, seed: int, settings: Settings
) -> tuple[InverseDynamicsPolicy, int]:
    """Train a planner on the states of the demonstrations, and inverse dynamics on other data of the robot."""
    space: Any = probe.action_space
    obs_dim = demonstrations.observations["observation"].shape[1]
    states = Demonstrations(demonstrations.lengths, demonstrations.observations, None, demonstrations.last_observations)
    generator = torch.Generator().manual_seed(seed)
    with initial_weights(generator):
        planner = FlowPlanner(obs_dim, settings.net_arch)
    fit(
        planner,
        NextStateDataset.from_demonstrations(states),
        FitSettings(num_updates=settings.updates),
        generator=generator,
    )
    first = 4_000 + 1_000 * seed

    def collect(act: Act, count: int, exploration: Sequence[float] | None = None) -> TransitionDataset:
        nonlocal first
        seeds = range(first, first + count)
        first += count
        return transitions(
            run_episodes(lambda: make_env(task.env_id), act, seeds, exploration=exploration, num_envs=100)
        )

    data = [collect(random_act(space), task.random_episodes)]
    for number in range(settings.rounds):
        with initial_weights(generator):
            inverse_dynamics = MlpInverseDynamics(space.shape[0], obs_dim, settings.net_arch)
        everything = TransitionDataset.concatenate(data)
        fit(inverse_dynamics, everything, FitSettings(num_updates=max(1, settings.updates // 2)), generator=generator)
        policy = InverseDynamicsPolicy(
            probe.observation_space, space, planner=planner, inverse_dynamics=inverse_dynamics
        )
        if number + 1 < settings.rounds:
            noise = np.resize([0.0, 0.05, 0.1, 0.2, 0.3], task.own_episodes).tolist()
            data.append(collect(source_act(policy, deterministic=False), task.own_episodes, noise))
    return policy, len(everything)


def scores(task: Task, episodes: Sequence[Episode]) -> Scores:
    """Return what counts of finished episodes."""
    successes = [episode.success for episode in episodes]
    left = None
    if task.expert is None:
        sides = [_went_left(episode) for episode in episodes if episode.success]
        left = float(np.mean(sides)) if sides else None
    return Scores(
        [episode.total_reward for episode in episodes],
        None if None in successes else [bool(success) for success in successes],
        left,
    )


def _went_left(episode: Episode) -> bool:
    """Whether the finger passed the obstacle, at x = 0.5, on the side of positive y."""
    tips = episode.observations[:, :2]
    return bool(tips[np.argmax(tips[:, 0] > 0.5), 1] > 0)


def summarize(units: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the figures of each row over the training seeds of a task."""
    found: dict[str, dict[str, Any]] = {}
    for row in units[0]["rows"]:
        runs = [unit["rows"][row] for unit in units]
        returns = [float(np.mean(run["returns"])) for run in runs]
        has_success = runs[0]["successes"] is not None
        left = [run["left"] for run in runs if run["left"] is not None]
        found[row] = {
            "mean_return": float(np.mean(returns)),
            "returns_by_seed": returns,
            "success_by_seed": [float(np.mean(run["successes"])) for run in runs] if has_success else None,
            "success_rate": float(np.mean([run["successes"] for run in runs])) if has_success else None,
            "left": float(np.mean(left)) if left else None,
            "left_by_seed": left or None,
        }
    floor, expert = found["random"]["mean_return"], found["expert"]["mean_return"]
    for figures in found.values():
        figures["of_expert"] = (figures["mean_return"] - floor) / (expert - floor)
        figures["of_expert_by_seed"] = [(value - floor) / (expert - floor) for value in figures["returns_by_seed"]]
    return found


def claims(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the figures are held against, by name: the figure and whether it is kept; tasks may be missing."""
    found: dict[str, dict[str, Any]] = {}
    if "half_cheetah" in tables:
        rows = tables["half_cheetah"]
        worst = {
            row: min(value / rows["expert"]["mean_return"] for value in rows[row]["returns_by_seed"])
            for row in ("mlp", "flow, 10 steps")
        }
        found["half_cheetah: clones' return as a share of the expert's, worst seed"] = {
            "figure": worst,
            "kept": min(worst.values()) >= LEAST_CLONED,
        }
    if "obstacle" in tables:
        flow, mlp = tables["obstacle"]["flow in chunks, 10 steps"], tables["obstacle"]["mlp in chunks"]
        modes = [min(left, 1 - left) for left in flow["left_by_seed"] or [0.0]]
        found["obstacle, in chunks"] = {
            "figure": {
                "success of the flow, worst seed": min(flow["success_by_seed"]),
                "share of its smaller mode, worst seed": min(modes),
                "success of regression, mean over seeds": mlp["success_rate"],
                "success of regression by seed": mlp["success_by_seed"],
            },
            "kept": min(flow["success_by_seed"]) >= LEAST_FLOW_SUCCESS
            and min(modes) >= LEAST_MODE
            and mlp["success_rate"] <= LARGEST_MLP_SUCCESS,
        }
    shares = {
        task: rows["planner and inverse dynamics"]["of_expert"] / rows["flow, 10 steps"]["of_expert"]
        for task, rows in tables.items()
    }
    found["states alone: share of the flow's return above random actions'"] = {
        "figure": shares,
        "kept": sum(share >= LEAST_STATE_ONLY for share in shares.values()) >= min(2, len(shares)),
    }
    return found


def format_tables(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures as tables in Markdown."""
    lines = []
    for task, rows in tables.items():
        lines += [
            f"**{task}** (`{TASKS[task].env_id}`, {TASKS[task].demonstrations} episodes shown)",
            "",
            "| row | success | mean return [worst, best seed] | of expert | went left |",
            "|---|---|---|---|---|",
        ]
        for row, figures in rows.items():
            success = "" if figures["success_rate"] is None else f"{figures['success_rate']:.2f}"
            left = "" if figures["left"] is None else f"{figures['left']:.2f}"
            low, high = min(figures["returns_by_seed"]), max(figures["returns_by_seed"])
            lines.append(
                f"| {row} | {success} | {figures['mean_return']:.1f} [{low:.1f}, {high:.1f}] "
                f"| {figures['of_expert']:.2f} | {left} |"
            )
        lines.append("")
    return "\n".join(lines)


def finished_units(settings: Settings) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the units that an earlier run with the same settings, finished or cut off, has left in the output."""
    file = settings.output / "imitation.json"
    if not same_settings(file, settings, ("tasks", "seeds", "processes", "output")):
        return {}
    content = read_json(file)
    commit = content["versions"]["commit"]
    return {(unit["task"], unit["seed"]): {"commit": commit, **unit} for unit in content["units"]}


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether all claims are kept."""
    require_writable(settings.output)
    pairs = [(task, seed) for task in settings.tasks for seed in settings.seeds]
    units = finished_units(settings)
    missing = [pair for pair in pairs if pair not in units]
    print(f"{len(missing)} units of 3 to 8 minutes, {settings.processes} at a time")
    with ProcessPoolExecutor(settings.processes) as pool:
        waiting = {pool.submit(run_unit, task, seed, settings): (task, seed) for task, seed in missing}
        for done in tqdm(as_completed(waiting), total=len(missing), desc="units", unit="unit"):
            units[waiting[done]] = done.result() | {"commit": versions()["commit"]}
            write_json(settings.output / "imitation.json", settings, {"units": list(units.values())})
    ordered = [units[pair] for pair in pairs]
    tables: dict[str, dict[str, dict[str, Any]]] = {
        task: summarize([units[task, seed] for seed in settings.seeds]) for task in settings.tasks
    }
    found = claims(tables)
    command = " ".join(["python -m benchmarks.imitation", *sys.argv[1:]])
    verdicts = "\n".join(
        f"- {name}: {json.dumps(claim['figure'])}{'' if claim['kept'] else ', MISSED'}" for name, claim in found.items()
    )
    text = (
        f"{format_tables(tables)}{verdicts}\n\n`{command}`: {settings.episodes} paired episodes a row and training "
        f"seed, training seeds {', '.join(str(seed) for seed in settings.seeds)}, {settings.updates} gradient steps "
        f"each. Of expert: the share of the expert's mean return above that of random actions. Rows act with the noise "
        f"of their episodes, unless they say deterministic or have none. In chunks: "
        f"{', '.join(f'{TASKS[t].replan_interval} of {TASKS[t].horizon} steps on {t}' for t in settings.tasks)}.\n"
    )
    print(f"\n{text}")
    results = {
        "command": command,
        "tasks": {task: asdict(TASKS[task]) for task in settings.tasks},
        "tables": tables,
        "claims": found,
        "units": ordered,
    }
    write_json(settings.output / "imitation.json", settings, results)
    write_file(settings.output / "imitation.md", text)
    kept = all(claim["kept"] for claim in found.values())
    print(f"{settings.output}: imitation.json and imitation.md" + ("" if kept else "; MISSED"))
    return kept


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.imitation")) else 1)
