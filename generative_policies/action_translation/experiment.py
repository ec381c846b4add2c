"""The four translators on maps whose answer is known.

Run by ``python -m generative_policies.action_translation.experiment``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generative_policies.action_translation.flow import (
    FlowActionConditionedTranslator,
    FlowActionPriorConditionedTranslator,
    FlowActionPriorTranslator,
)
from generative_policies.action_translation.mlp import MlpActionTranslator
from generative_policies.models.experiments.distributions import as_tensor
from generative_policies.models.experiments.experiment import (
    Bound,
    Experiment,
    ExperimentSettings,
    Table,
    initialized,
    run_command_line,
    train,
)
from generative_policies.models.experiments.figures import BLUE, ORANGE, new_figure, save_figure

Floats = NDArray[np.float64]
TRANSLATORS: Mapping[str, Callable[..., Any]] = {
    "mlp": MlpActionTranslator,
    "flow_prior": FlowActionPriorTranslator,
    "flow_conditioned": FlowActionConditionedTranslator,
    "flow_prior_conditioned": FlowActionPriorConditionedTranslator,
}


def permuted(obs: Floats, source: Floats, rng: np.random.Generator) -> Floats:
    """Motors wired in another order, one of them backwards, and a load that the observation tells."""
    target: Floats = source[:, [1, 0]] * [-1.0, 0.8] + 0.4 * np.sin(2 * obs)
    return target


def mirrored(obs: Floats, source: Floats, rng: np.random.Generator) -> Floats:
    """All motors backwards: every path meets every other half-way."""
    return -source


def two_ways(obs: Floats, source: Floats, rng: np.random.Generator) -> Floats:
    """Two target actions do what one source action does: left or right at random."""
    target: Floats = 0.3 * source + rng.choice([-1.0, 1.0], (len(source), 1)) * [0.8, 0.0]
    return target


# Arguments of the flows; where paths meet or part, the velocity turns sharply and Euler needs hundreds of steps.
SOLVERS: Mapping[str, dict[str, Any]] = {
    "1 step": {"num_steps": 1},
    "2 steps": {"num_steps": 2},
    "4 steps": {"num_steps": 4},
    "many steps": {"num_steps": 30, "solver": "rk4"},
}
MAPS = {"permuted": permuted, "mirrored": mirrored, "two ways": two_ways}


def translators(settings: ExperimentSettings) -> tuple[Table, Sequence[Bound]]:
    """The four translators on three maps: their distance to a right action, and the spread of their answers."""
    table: dict[str, dict[str, float]] = {}
    bounds: list[Bound] = []
    figure, axes = new_figure(len(TRANSLATORS) + 1, len(MAPS), size=2.4, sharex=True, sharey=True)
    for row, (map_name, correspond) in enumerate(MAPS.items()):
        rng = settings.rng(row)

        def draw(
            n: int,
            correspond: Callable[[Floats, Floats, np.random.Generator], Floats] = correspond,
            rng: np.random.Generator = rng,
        ) -> tuple[Floats, Floats, Floats]:
            obs, source = rng.uniform(-1, 1, (n, 2)), rng.uniform(-1, 1, (n, 2))
            return obs, source, correspond(obs, source, rng)

        obs, source, target = draw(2_000)
        _scatter(axes[row, 0], target, f"{map_name}: true" if row == 0 else map_name, ORANGE)
        for column, (name, cls) in enumerate(TRANSLATORS.items()):
            translator = initialized(partial(cls, 2, 2, (128, 128)), settings.seed)
            translator.fit_normalizers(*(as_tensor(x) for x in draw(5_000)))
            train(translator, _pairs(draw), settings.updates(4_000), settings.generator(row))
            # Of the actions that would be right here, the nearest one counts.
            right = [correspond(obs, source, np.random.default_rng(k)) for k in range(12)]
            scale = float(np.ptp(target))
            noise = settings.rng(99).standard_normal((len(obs), 2))
            answers = {
                steps: translator.predict(obs, source, **({"noise": noise} | arguments if translator.noise_dim else {}))
                for steps, arguments in SOLVERS.items()
            }
            best = answers["many steps"]
            spread = np.linalg.norm(best.std(axis=0)) / np.linalg.norm(target.std(axis=0))
            table[f"{map_name}, {name}"] = {
                f"error / scale, {steps}": _error(answer, right) / scale for steps, answer in answers.items()
            } | {"spread / true, many steps": float(spread)}
            _scatter(axes[row, column + 1], best, name if row == 0 else "", BLUE)
    for name in ("mlp", "flow_conditioned", "flow_prior_conditioned"):
        bounds += [Bound(f"{m}, {name}", "error / scale, 4 steps", 0, 0.02) for m in ("permuted", "mirrored")]
    bounds += [Bound(f"{m}, flow_prior", "spread / true, many steps", 0.95, 1.05) for m in ("permuted", "mirrored")]
    # The mean of two ways is neither; a flow keeps both.
    bounds += [Bound("two ways, mlp", "error / scale, many steps", 0.2, 1)]
    bounds += [
        Bound(f"two ways, {name}", "error / scale, many steps", 0, 0.05)
        for name in ("flow_conditioned", "flow_prior_conditioned")
    ]
    save_figure(figure, settings.output / "translators.png")
    return table, bounds


def _error(answers: Floats, right: Sequence[Floats]) -> float:
    """Root mean square distance to the nearest right action."""
    distances = np.min([np.linalg.norm(answers - actions, axis=1) for actions in right], axis=0)
    return float(np.sqrt(np.mean(distances**2)))


def _pairs(draw: Callable[[int], tuple[Floats, Floats, Floats]]) -> Iterator[dict[str, Any]]:
    while True:
        obs, source, target = draw(256)
        yield {"obs": as_tensor(obs), "source_actions": as_tensor(source), "target_actions": as_tensor(target)}


def _scatter(ax: Any, actions: Floats, title: str, color: str) -> None:
    ax.plot(actions[:, 0], actions[:, 1], ".", markersize=1.5, alpha=0.4, color=color)
    ax.set_title(title, fontsize=8)


MODULE = "generative_policies.action_translation.experiment"
EXPERIMENTS: Mapping[str, Experiment] = {"translators": translators}


def main(arguments: Sequence[str] | None = None) -> dict[str, Table]:
    """Run the command line and return the table."""
    return run_command_line(
        EXPERIMENTS, MODULE, "Train the four translators on known maps, measure and plot them.", arguments
    )


if __name__ == "__main__":
    main()
