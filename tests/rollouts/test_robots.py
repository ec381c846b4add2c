"""Robots as settings: what is made of them, and their round trip through JSON."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from generative_policies.envs import make_env
from generative_policies.rollouts.robots import Robot


def test_a_robot_is_made_with_its_shift_and_motors() -> None:
    made = Robot("HalfCheetah-v5", "G", motors=(5, 1), motor_signs=(-1, 1)).make()
    assert made.spec == make_env("HalfCheetah-v5", "G", motors=(5, 1), motor_signs=(-1, 1)).spec
    assert made.action_space.shape == (2,)


def test_json_brings_back_the_same_robot() -> None:
    for robot in (Robot("HalfCheetah-v5", "G"), Robot("HalfCheetah-v5", motors=(5, 1), motor_signs=(-1, 1))):
        fields = json.loads(json.dumps(asdict(robot)))
        again = Robot(**(fields | {"env_arguments": tuple(fields["env_arguments"])}))
        assert again == robot and hash(again) == hash(robot)


def test_a_robot_that_cannot_be_wired_is_refused() -> None:
    Robot("HalfCheetah-v5", motors=tuple(np.arange(6)[::-1].tolist())).check()
    with pytest.raises(ValueError, match="motors must be"):
        Robot("HalfCheetah-v5", motors=(6,)).check()
