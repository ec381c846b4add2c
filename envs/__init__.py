"""MuJoCo environments: dynamics shifts and success. Needs gymnasium and mujoco, no learning library."""

from generative_policies.envs.dynamics_shift import PUSHER_P1, PUSHER_P2, DynamicsShift, DynamicsShiftWrapper
from generative_policies.envs.make import make_env
from generative_policies.envs.success import SuccessWrapper

__all__ = ["PUSHER_P1", "PUSHER_P2", "DynamicsShift", "DynamicsShiftWrapper", "SuccessWrapper", "make_env"]
