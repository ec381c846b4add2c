"""A frozen source policy is the policy, with derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from generative_policies.policies import MlpPolicy, source_actions, source_values

SPACES = {
    "symmetric": Box(-0.5, 0.5, (2,)),
    "asymmetric": Box(np.array([-3.0, 0.1], np.float32), np.array([0.3, 0.8], np.float32)),
}


class Features(BaseFeaturesExtractor):
    def __init__(self, observation_space: Box) -> None:
        super().__init__(observation_space, features_dim=4)
        self.layer = nn.Linear(3, 4)

    def forward(self, observations: Tensor) -> Tensor:
        return self.layer(observations).tanh()


KINDS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "SAC": (SACPolicy, {}),
    "SAC with shared features": (SACPolicy, {"share_features_extractor": True, "features_extractor_class": Features}),
    "SAC with gSDE": (SACPolicy, {"use_sde": True}),
    "TD3": (TD3Policy, {"n_critics": 3}),
    "PPO": (ActorCriticPolicy, {}),
    "PPO with gSDE": (ActorCriticPolicy, {"use_sde": True, "squash_output": True}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, action_space: Box = SPACES["asymmetric"], spread: float = 1.0) -> Any:
    """A policy with smooth networks; a wide spread of weights saturates it."""
    policy_class, arguments = KINDS[kind]
    policy: BasePolicy = policy_class(
        Box(-10, 10, (3,)), action_space, lambda _: 0.0, net_arch=[8], activation_fn=nn.Tanh, **arguments
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return policy


def rows(width: int = 3) -> Tensor:
    return torch.randn(16, width, generator=torch.Generator().manual_seed(1))


@every_kind
@pytest.mark.parametrize("action_space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("spread", [0.3, 3.0, 100.0])
def test_actions_are_those_of_predict(kind: str, action_space: Box, spread: float) -> None:
    policy = make(kind, action_space, spread)
    actions = source_actions(policy)(rows())
    np.testing.assert_allclose(actions, policy.predict(rows().numpy(), deterministic=True)[0], atol=1e-6)
    assert actions.dtype == torch.float32
    assert all(action in action_space for action in actions.numpy())
    at_a_bound = np.isclose(actions, action_space.low) | np.isclose(actions, action_space.high)
    assert at_a_bound.any() or spread < 100 or kind == "SAC with gSDE"  # whose mean SB3 keeps in [-2, 2]


@every_kind
@pytest.mark.parametrize("function", [source_actions, source_values])
def test_gradients_are_finite_differences(kind: str, function: Callable[..., nn.Module]) -> None:
    frozen = function(make(kind, Box(np.array([-3.0, -4.0], np.float32), np.array([5.0, 4.0], np.float32))))
    weights = torch.tensor([1.0, -2.0]) if function is source_actions else torch.ones(1)

    def weighted(observations: Tensor) -> Tensor:
        return (frozen(observations).reshape(len(observations), -1) * weights).sum(1)

    observations = rows().requires_grad_()
    (gradient,) = torch.autograd.grad(weighted(observations).sum(), observations)
    steps = 1e-2 * torch.eye(3)
    with torch.no_grad():
        differences = [(weighted(rows() + step) - weighted(rows() - step)) / 2e-2 for step in steps]
    torch.testing.assert_close(gradient, torch.stack(differences, 1), atol=2e-3, rtol=2e-3)
    assert gradient.abs().max(0).values.min() > 0.05


def test_a_clipped_action_has_no_gradient() -> None:
    observations = rows().requires_grad_()
    actions = source_actions(make("PPO", SPACES["symmetric"], spread=100.0))(observations)
    clipped = (actions.abs() == 0.5).all(1)
    assert clipped.any()
    (gradient,) = torch.autograd.grad(actions.sum(), observations)
    assert gradient[clipped].count_nonzero() == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("PPO")])
def test_values_are_the_smallest_critic_at_the_scaled_action(kind: str) -> None:
    policy = make(kind)
    actions = policy.predict(rows().numpy(), deterministic=True)[0]
    pairs = rows(), torch.as_tensor(policy.scale_action(actions))
    with torch.no_grad():
        for network, critic in zip(policy.critic.q_networks, policy.critic(*pairs), strict=True):
            network[-1].bias -= critic.mean()  # so that none is the smallest everywhere
        critics = torch.stack(policy.critic(*pairs))[:, :, 0]
    torch.testing.assert_close(source_values(policy)(rows()), critics.min(0).values, atol=1e-5, rtol=1e-5)
    assert len(critics.argmin(0).unique()) == len(critics)


def test_values_of_an_actor_critic_are_its_value_function() -> None:
    policy = make("PPO")
    with torch.no_grad():
        assert torch.equal(source_values(policy)(rows()), policy.predict_values(rows())[:, 0])


@every_kind
@pytest.mark.parametrize("function", [source_actions, source_values])
def test_neither_gradients_nor_a_later_training_leak(kind: str, function: Callable[..., nn.Module]) -> None:
    policy = make(kind)
    for parameter in policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    frozen = function(policy)
    before = frozen(rows())
    frozen(rows().requires_grad_()).sum().backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in frozen.parameters())
    assert all(bool((parameter.grad == 1).all()) for parameter in policy.parameters())
    assert any(parameter.requires_grad for parameter in policy.parameters())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(1.0)
    assert torch.equal(frozen(rows()), before)
    assert not torch.equal(function(policy)(rows()), before)


def test_evaluation_mode_stays_within_a_module_that_is_trained() -> None:
    class WithDropout(nn.Tanh):
        def forward(self, values: Tensor) -> Tensor:
            return nn.functional.dropout(super().forward(values), 0.5, self.training)

    policy = SACPolicy(Box(-1, 1, (3,)), SPACES["symmetric"], lambda _: 0.0, net_arch=[8], activation_fn=WithDropout)
    policy.train()
    frozen = source_values(policy)
    assert torch.equal(frozen(rows()), frozen(rows()))
    nn.Sequential(frozen).train()
    assert torch.equal(frozen(rows()), frozen(rows()))
    assert policy.training and policy.actor.training


@every_kind
@pytest.mark.parametrize("function", [source_actions, source_values])
def test_the_policy_sees_what_observe_gives(kind: str, function: Callable[..., nn.Module]) -> None:
    policy = make(kind)
    observations = rows(5).requires_grad_()
    seen = function(policy, lambda observations: 2 * observations[:, 1:4])(observations)
    assert torch.equal(seen, function(policy)(2 * rows(5)[:, 1:4]))
    (gradient,) = torch.autograd.grad(seen.sum(), observations)
    assert gradient[:, [0, 4]].count_nonzero() == 0 and gradient[:, 1:4].count_nonzero() > 0
    with pytest.raises(ValueError, match=r"sees observations \(batch, \*\(3,\)\), got \(16, 5\): pass observe"):
        function(policy)(rows(5))


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (PPO, {"n_steps": 16, "batch_size": 8, "n_epochs": 1}),
        (PPO, {"n_steps": 16, "batch_size": 8, "n_epochs": 1, "use_sde": True}),
        (SAC, {"learning_starts": 10}),
        (TD3, {"learning_starts": 10}),
    ],
)
def test_an_algorithm_in_the_midst_of_its_training(algorithm: Any, settings: dict[str, Any]) -> None:
    model = algorithm("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, device="cpu", seed=0, **settings)
    model.learn(16)
    expected = model.policy.predict(rows().numpy(), deterministic=True)[0]
    model.learn(16)
    actions, values = source_actions(model), source_values(model)
    before = actions(rows()), values(rows())
    np.testing.assert_allclose(before[0], model.predict(rows().numpy(), deterministic=True)[0], atol=1e-6)
    assert not np.allclose(before[0], expected, atol=1e-5)
    model.learn(16)
    assert torch.equal(actions(rows()), before[0]) and torch.equal(values(rows()), before[1])
    assert all(bool(values.isfinite().all()) for values in before)


@pytest.mark.parametrize("function", [source_actions, source_values])
def test_other_policies_are_refused(function: Callable[..., nn.Module]) -> None:
    known = r"ActorCriticPolicy \(PPO, A2C\), a SACPolicy or a TD3Policy \(TD3, DDPG\)"
    own = MlpPolicy(Box(-1, 1, (3,)), Box(-1, 1, (2,)))
    for policy, name in ((DQN("MlpPolicy", "CartPole-v1", device="cpu"), "DQNPolicy"), (own, "MlpPolicy")):
        with pytest.raises(TypeError, match=f"{known}.*got {name}"):
            function(policy)
    with pytest.raises(TypeError, match=r"Box with one axis, got Discrete\(2\)"):
        function(PPO("MlpPolicy", "CartPole-v1", device="cpu"))
