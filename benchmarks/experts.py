"""Every source expert at home and on its shifts: is it an expert, and does the shift leave something to win back?"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from generative_policies.atomic_files import write_file
from generative_policies.envs import SHIFTS, DynamicsShift, ExactInverseDynamics, make_env
from generative_policies.rollouts import Episode, load_expert, random_act, run_episodes, source_act
from generative_policies.rollouts.commands.train_source import expert_name
from generative_policies.rollouts.evaluation import summarize
from generative_policies.rollouts.provenance import require_writable, write_json
from generative_policies.rollouts.recipes import RECIPES

LEAST_COST = 0.25
# Shifts of the literature are what they are; they are measured, but need not cost our expert anything.
GIVEN = ("published",)


@dataclass(frozen=True)
class Requirement:
    """What an expert is asked for.

    Attributes:
        minimum: Of its score at home.
        score: What the minimum is of.
        cost_of: What a shift has to cost at least a quarter of; reaching a goal at some step is so easy on the arms
            that only the return tells them apart.
    """

    minimum: float
    score: Literal["success", "return"] = "return"
    cost_of: Literal["success", "return"] = "return"


REQUIREMENTS = {
    "Pusher-v5": Requirement(0.95, "success", "success"),
    "HalfCheetah-v5": Requirement(3_500),
    "Hopper-v5": Requirement(2_500),
    "InvertedDoublePendulum-v5": Requirement(9_000),
    # Most of what random actions lose is their own cost, which no shift can reach.
    "Reacher-v5": Requirement(-6, "return", "success"),
    "generative_policies/ArmReach2-v0": Requirement(0.95, "success"),
    "generative_policies/ArmReach3-v0": Requirement(0.95, "success"),
    "generative_policies/ArmPush2-v0": Requirement(0.95, "success", "success"),
    "generative_policies/ArmPush3-v0": Requirement(0.95, "success", "success"),
}


@dataclass(frozen=True)
class Settings:
    """Score every source expert at home and on its shifts, on the same reset seeds, beside random actions."""

    envs: tuple[str, ...] = tuple(REQUIREMENTS)
    """Gymnasium ids."""
    episodes: int = 100
    """Episodes of each, with reset seeds from 10,000."""
    matched_steps: int = 50
    """Steps of the expert at home which exact inverse dynamics makes again on each target."""
    seed: int = 0
    """Of the choice of steps that are matched, of the search for their actions, and of the intervals."""
    output: Path = Path("runs/benchmarks")
    """Folder of the JSON and the table."""

    def __post_init__(self) -> None:
        """Check the settings."""
        if unknown := sorted(set(self.envs) - set(REQUIREMENTS)):
            raise ValueError(f"envs must be of {', '.join(REQUIREMENTS)}; got {', '.join(unknown)}")
        if self.episodes < 2 or self.matched_steps < 1:
            raise ValueError(f"expected two episodes and a step at least, got {self.episodes}, {self.matched_steps}")


def measure(env_id: str, settings: Settings) -> dict[str, Any]:
    """Return the arms of one expert: random, home, and each shift."""
    arguments = dict(RECIPES[env_id].env_arguments)
    seeds = range(10_000, 10_000 + settings.episodes)
    expert = source_act(load_expert(expert_name(env_id)))

    def make(shift: DynamicsShift | None = None) -> gymnasium.Env[Any, Any]:
        return make_env(env_id, shift, **arguments)

    probe = make()
    space: Any = probe.action_space  # a bounded Box, run_episodes sees to it
    name = expert_name(env_id)
    results = {"random": run_episodes(make, random_act(space), seeds, progress=f"{name}, random")}
    home = run_episodes(make, expert, seeds, record_states=True, progress=f"{name}, home")
    results["home"] = home
    shifts = SHIFTS.get(type(probe.unwrapped).__name__, {})
    for shift_name, shift in shifts.items():
        results[shift_name] = run_episodes(partial(make, shift), expert, seeds, progress=f"{name}, {shift_name}")
    requirement = REQUIREMENTS[env_id]
    scores = {arm: _scores(episodes) for arm, episodes in results.items()}
    floor, ceiling = scores["random"][requirement.cost_of], scores["home"][requirement.cost_of]
    arms: dict[str, dict[str, Any]] = {}
    for arm, episodes in results.items():
        summary = summarize(episodes).report(None, np.random.default_rng(settings.seed))
        arms[arm] = {
            **{key: summary[key] for key in ("success_rate", "success_interval", "mean_return", "return_interval")},
            "returns": summary["returns"],
            "successes": summary["successes"],
            "saturated": float(np.mean(np.concatenate([_saturated(space, e.actions) for e in episodes]))),
        }
        if arm in shifts:
            matched = _match(make(shifts[arm]), home, settings)
            arms[arm] |= {
                "shift": asdict(shifts[arm]),
                "cost": (ceiling - scores[arm][requirement.cost_of]) / (ceiling - floor),
                **matched,
            }
    score = scores["home"][requirement.score]
    return {
        "expert": name,
        "requirement": asdict(requirement),
        "home_kept": bool(score >= requirement.minimum),
        "costs_kept": all(arms[arm]["cost"] >= LEAST_COST for arm in set(shifts) - set(GIVEN)) and bool(shifts),
        "arms": arms,
    }


def format_table(reports: dict[str, dict[str, Any]]) -> str:
    """Return the reports as a table in Markdown."""
    lines = [
        "| expert | on | success | mean return [95 % interval] | cost of the shift | motors saturated | "
        "... by exact matching |",
        "|---|---|---|---|---|---|---|",
    ]
    for report in reports.values():
        for name, arm in report["arms"].items():
            low, high = arm["return_interval"]
            shifted = "cost" in arm
            cells = [
                report["expert"],
                name,
                "" if arm["success_rate"] is None else f"{arm['success_rate']:.2f}",
                f"{arm['mean_return']:.1f} [{low:.1f}, {high:.1f}]",
                f"{100 * arm['cost']:.0f} % of {report['requirement']['cost_of']}" if shifted else "",
                f"{100 * arm['saturated']:.1f} %",
                f"{100 * arm['matching_saturated']:.0f} %" if shifted else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(settings: Settings) -> bool:
    """Measure, print and write; return whether all requirements are kept."""
    torch.set_num_threads(1)
    require_writable(settings.output)
    reports = {env_id: measure(env_id, settings) for env_id in settings.envs}
    command = " ".join(["python -m benchmarks.experts", *sys.argv[1:]])
    table = (
        f"{format_table(reports)}\n\n`{command}`: {settings.episodes} paired episodes an arm, actions of the expert "
        "untranslated. The cost of a shift is its share of the gap between random actions and the expert at home. "
        f"Saturated: steps with a motor at its limit; by exact matching: of {settings.matched_steps} steps of the "
        "expert at home, made again on the target by exact inverse dynamics.\n"
    )
    print(f"\n{table}")
    write_json(settings.output / "experts.json", settings, {"command": command, "experts": reports})
    write_file(settings.output / "experts.md", table)
    missed = [env_id for env_id, report in reports.items() if not (report["home_kept"] and report["costs_kept"])]
    print(f"{settings.output}: experts.json and experts.md" + (f"; MISSED: {', '.join(missed)}" if missed else ""))
    return not missed


def _scores(episodes: Sequence[Episode]) -> dict[str, float]:
    return {
        "success": float(np.mean([bool(episode.success) for episode in episodes])),
        "return": float(np.mean([episode.total_reward for episode in episodes])),
    }


def _saturated(space: Any, actions: NDArray[Any]) -> NDArray[np.bool_]:
    """``(T, action_dim)`` -> ``(T,)``, whether a motor is within 0.1 % of a limit."""
    margin = 1e-3 * (space.high - space.low)
    return np.asarray(((actions <= space.low + margin) | (actions >= space.high - margin)).any(axis=1))


def _match(env: gymnasium.Env[Any, Any], home: Sequence[Episode], settings: Settings) -> dict[str, float]:
    """Make steps of the expert at home again on the target, from the same physics states."""
    rng = np.random.default_rng(settings.seed)
    states, next_states, guesses = [], [], []
    for _ in range(settings.matched_steps):
        episode = home[int(rng.integers(len(home)))]
        assert episode.states is not None
        step = rng.integers(len(episode.actions))
        states.append(episode.states[step])
        next_states.append(episode.states[step + 1])
        guesses.append(episode.actions[step])
    solution = ExactInverseDynamics(env, num_starts=13).solve_batch(
        np.array(states), np.array(next_states), np.array(guesses), num_threads=os.cpu_count() or 1, seed=settings.seed
    )
    return {
        "matching_saturated": float(np.mean(_saturated(env.action_space, np.asarray(solution.action)))),
        "matching_median_residual": float(np.median(solution.residual)),
    }


if __name__ == "__main__":
    sys.exit(0 if main(tyro.cli(Settings, prog="python -m benchmarks.experts")) else 1)
