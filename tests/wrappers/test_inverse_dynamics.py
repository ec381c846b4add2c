"""Plans of a policy, carried out by inverse dynamics."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from generative_policies.checkpoints import save
from generative_policies.inverse_dynamics import InverseDynamics, MlpInverseDynamics
from generative_policies.models import DictObservationEncoder
from generative_policies.wrappers import InverseDynamicsWrapper
from tests.wrappers.stand_ins import AsDictionary, inverse_dynamics


class Point(gymnasium.Env[Any, Any]):
    """A point in the plane: the action is the change of its position; the third entry stays."""

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.position = np.array([0.5, -0.5, 7.0])
        return self.position.copy(), {}

    def step(self, action: Any) -> Any:
        self.position[:2] += action
        return self.position.copy(), 0.0, False, False, {}


class PointInverse(MlpInverseDynamics):
    """The known inverse of the point's dynamics."""

    def actions(self, obs: Any, next_obs: Any, **_: Any) -> Tensor:
        change: Tensor = next_obs[:, :2] - obs[:, :2]
        return change


def point_inverse() -> PointInverse:
    """Steps of the training data have spreads 0.1, 0.2 and 0.4 around means that are not zero."""
    model = PointInverse(2, 3)
    obs = torch.tensor([[0.0, 0, 0], [2, 4, 6]])
    spread = torch.tensor([[0.1, 0.2, 0.4]])
    model.fit_normalizers(obs, obs + 0.05 + torch.cat([spread, -spread]), torch.zeros(2, 2))
    return model


def test_an_action_is_a_change_in_units_of_its_spread() -> None:
    env = InverseDynamicsWrapper(Point(), point_inverse(), limit=2.0)
    assert env.action_space == Box(-2.0, 2.0, (3,), np.float32)
    before, _ = env.reset(seed=0)
    after, _, _, _, info = env.step(np.array([1.0, -0.5, 0.0], np.float32))
    assert np.allclose(after - before, [0.1, -0.1, 0], atol=1e-6)
    assert np.allclose(info["planned_change"], [0.1, -0.1, 0], atol=1e-6)
    stay, _, _, _, _ = env.step(np.zeros(3, np.float32))  # no change asked for, whatever the mean of the data is
    assert np.allclose(stay, after)
    far, _, _, _, _ = env.step(np.array([99, 0, 0], np.float32))
    assert np.allclose(far - stay, [0.2, 0, 0], atol=1e-6)  # clipped to the limit of 2


def test_absolute_actions_are_next_observations_around_their_mean() -> None:
    env = InverseDynamicsWrapper(Point(), point_inverse(), absolute=True)
    env.reset(seed=0)
    after, _, _, _, info = env.step(np.array([-0.5, -1.0, 0.0], np.float32))
    # Observations have means 1, 2, 3 and standard deviations 1, 2, 3.
    assert np.allclose(after[:2], [0.5, 0.0], atol=1e-6)
    assert np.allclose(info["planned_change"], [0, 0.5, -4], atol=1e-5)


def test_own_units_replace_those_of_the_model() -> None:
    env = InverseDynamicsWrapper(Point(), point_inverse(), spread=[1.0, 1.0, 1.0])
    before, _ = env.reset(seed=0)
    after, _, _, _, _ = env.step(np.array([0.25, 0, 0], np.float32))
    assert np.allclose(after - before, [0.25, 0, 0])


def test_a_plan_of_the_leading_part() -> None:
    class Leading(MlpInverseDynamics):
        def actions(self, obs: Any, next_obs: Any, **_: Any) -> Tensor:
            change: Tensor = next_obs - obs[:, :2]
            return change

    env = InverseDynamicsWrapper(Point(), Leading(2, 3, next_obs_dim=2))
    assert env.action_space.shape == (2,)
    before, _ = env.reset(seed=0)
    after, _, _, _, _ = env.step(np.array([0.5, -0.25], np.float32))  # a model that was not fitted has units of 1
    assert np.allclose((after - before)[:2], [0.5, -0.25])


def test_a_plan_for_a_dictionary_needs_units() -> None:
    env = AsDictionary(gymnasium.make("Hopper-v5"))
    encoder = DictObservationEncoder(env.observation_space)
    model = MlpInverseDynamics(3, encoder.output_dim, (16,), encoder=encoder)
    with pytest.raises(ValueError, match="spread must be given for dictionaries, 11 numbers"):
        InverseDynamicsWrapper(env, model)
    with pytest.raises(ValueError, match="absolute is for observations that are vectors"):
        InverseDynamicsWrapper(env, model, absolute=True)
    wrapped = InverseDynamicsWrapper(env, model, spread=np.full(11, 0.1))
    wrapped.reset(seed=0)
    change = wrapped.step(np.arange(11, dtype=np.float32) / 11)[4]["planned_change"]
    assert np.allclose(change, np.arange(11) / 110)


def test_what_does_not_fit_is_refused() -> None:
    for model, message in (
        (inverse_dynamics(2, 4), r"observations of shape \(4,\), but the env's have shape \(3,\)"),
        (inverse_dynamics(3, 3), "actions of width 3, the env takes 2"),
    ):
        with pytest.raises(ValueError, match=message):
            InverseDynamicsWrapper(Point(), model)
    for arguments, message in (
        ({"limit": 0.0}, "limit"),
        ({"limit": np.inf}, "limit"),
        ({"spread": [1.0, 2.0]}, "spread must be 3 positive numbers"),
        ({"spread": [1.0, 2.0, 0.0]}, "spread must be 3 positive numbers"),
        ({"spread": [1.0, 2.0, np.nan]}, "spread must be 3 positive numbers"),
        ({"spread": [1.0, 2.0, 3.0], "absolute": True}, "absolute"),
    ):
        with pytest.raises(ValueError, match=message):
            InverseDynamicsWrapper(Point(), point_inverse(), **arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an InverseDynamics or the path of one, got Linear"):
        InverseDynamicsWrapper(Point(), torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    assert issubclass(MlpInverseDynamics, InverseDynamics)


def test_the_spec_rebuilds_the_env(tmp_path: Path) -> None:
    save(inverse_dynamics(3, 11), tmp_path / "model")
    env = InverseDynamicsWrapper(gymnasium.make("Hopper-v5"), tmp_path / "model", limit=2.0, spread=np.full(11, 0.1))
    assert env.spec is not None
    for spec in (env.spec, gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json())):
        rebuilt = gymnasium.make(spec)
        assert rebuilt.action_space == env.action_space
        told = []
        for one in (env, rebuilt):
            one.reset(seed=0)
            told.append(one.step(np.ones(11, np.float32))[4]["target_action"].tolist())
        assert told[0] == told[1]
