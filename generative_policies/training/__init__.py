"""Training of any model of the library."""

from generative_policies.training.ema import ExponentialMovingAverage
from generative_policies.training.fit import FitResult, Trainable, fit
from generative_policies.training.initialization import initial_weights
from generative_policies.training.settings import FitSettings

__all__ = ["ExponentialMovingAverage", "FitResult", "FitSettings", "Trainable", "fit", "initial_weights"]
