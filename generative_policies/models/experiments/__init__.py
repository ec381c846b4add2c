"""Experiments on data whose answer is known; ``python -m generative_policies.models.experiment`` runs them."""

from generative_policies.models.experiments.experiment import Bound, Experiment, ExperimentSettings, run_command_line

__all__ = ["Bound", "Experiment", "ExperimentSettings", "run_command_line"]
