"""Forward dynamics: which observation an action leads to, (s, a) -> s'."""

from generative_policies.forward_dynamics.mlp import MlpForwardDynamics

__all__ = ["MlpForwardDynamics"]
