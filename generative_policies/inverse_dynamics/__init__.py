"""Inverse dynamics: which action leads from one observation to the next, (s, s') -> a."""

from generative_policies.inverse_dynamics.flow import FlowInverseDynamics
from generative_policies.inverse_dynamics.inverse_dynamics import InverseDynamics
from generative_policies.inverse_dynamics.mlp import MlpInverseDynamics

__all__ = ["FlowInverseDynamics", "InverseDynamics", "MlpInverseDynamics"]
