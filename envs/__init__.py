"""MuJoCo environments: shifts, motors, arms, exact dynamics. Needs gymnasium and mujoco, no learning library."""

# ruff: noqa: E402
from generative_policies.envs.rendering import import_mujoco

import_mujoco()  # before the modules below do

from generative_policies.envs.arm_envs import ArmPushEnv, ArmReachEnv, PlanarArmEnv
from generative_policies.envs.control_period import check_control_periods, control_period
from generative_policies.envs.correspondence import Correspondence, corresponding_state
from generative_policies.envs.dynamics_shift import PUSHER_P1, PUSHER_P2, SHIFTS, DynamicsShift, DynamicsShiftWrapper
from generative_policies.envs.exact_dynamics import ExactDynamics, get_state, set_state
from generative_policies.envs.exact_inverse_dynamics import ExactInverseDynamics, InverseSolution
from generative_policies.envs.identification import FACTORS, IdentifiedShift, identify_shift
from generative_policies.envs.make import make_env
from generative_policies.envs.obstacle import ArmObstacleEnv, DetourController
from generative_policies.envs.planar_arm import ARMS, ArmSpec
from generative_policies.envs.registration import register_envs
from generative_policies.envs.rewired_motors import RewiredMotorsWrapper
from generative_policies.envs.success import SuccessWrapper

__all__ = [
    "ARMS",
    "FACTORS",
    "PUSHER_P1",
    "PUSHER_P2",
    "SHIFTS",
    "ArmObstacleEnv",
    "ArmPushEnv",
    "ArmReachEnv",
    "ArmSpec",
    "Correspondence",
    "DetourController",
    "DynamicsShift",
    "DynamicsShiftWrapper",
    "ExactDynamics",
    "ExactInverseDynamics",
    "IdentifiedShift",
    "InverseSolution",
    "PlanarArmEnv",
    "RewiredMotorsWrapper",
    "SuccessWrapper",
    "check_control_periods",
    "control_period",
    "corresponding_state",
    "get_state",
    "identify_shift",
    "make_env",
    "register_envs",
    "set_state",
]

register_envs()
