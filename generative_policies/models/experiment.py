"""Flows and bridges on data whose answer is known: ``python -m generative_policies.models.experiment``.

Each experiment trains, prints its figures as a table, says where a bound is not kept, and writes a plot. Distances
stand beside what two fresh draws of the data give between themselves: a perfect sampler is no better.
"""

from collections.abc import Mapping, Sequence

from generative_policies.models.experiments import bridging, fitting, sources
from generative_policies.models.experiments.experiment import Experiment, Table, run_command_line

MODULE = "generative_policies.models.experiment"
EXPERIMENTS: Mapping[str, Experiment] = {
    "bimodal": fitting.bimodal,
    "conditional": fitting.conditional,
    "spiral": fitting.spiral,
    "grid": fitting.grid,
    "source-comparison": sources.source_comparison,
    "prior-steering": sources.prior_steering,
    "bridge": bridging.bridge,
}


def main(arguments: Sequence[str] | None = None) -> dict[str, Table]:
    """Run the command line and return the tables by experiment."""
    return run_command_line(
        EXPERIMENTS, MODULE, "Train generative models on known data, measure and plot them.", arguments
    )


if __name__ == "__main__":
    main()
