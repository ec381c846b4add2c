"""Training of any model of the library."""

from generative_policies.training.distillation import DistillationSettings, distill, reflow
from generative_policies.training.ema import ExponentialMovingAverage
from generative_policies.training.fit import Trainable, fit
from generative_policies.training.guidance import GuidanceSettings, Reward, SourceActions, Value, guide
from generative_policies.training.initialization import initial_weights
from generative_policies.training.optimization import FitResult
from generative_policies.training.ridge import fit_ridge
from generative_policies.training.settings import FitSettings

__all__ = [
    "DistillationSettings",
    "ExponentialMovingAverage",
    "FitResult",
    "FitSettings",
    "GuidanceSettings",
    "Reward",
    "SourceActions",
    "Trainable",
    "Value",
    "distill",
    "fit",
    "fit_ridge",
    "guide",
    "initial_weights",
    "reflow",
]
