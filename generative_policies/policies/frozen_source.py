"""A source policy, frozen: its actions and their values as differentiable functions of observations."""

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from gymnasium.spaces import Box
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

Observe: TypeAlias = Callable[[Tensor], Tensor]
"""What a source policy sees of observations: ``(batch, obs_dim)`` to ``(batch, source_obs_dim)``, differentiable."""


def source_actions(policy: BasePolicy | BaseAlgorithm, observe: Observe | None = None) -> nn.Module:
    """Return the deterministic actions of a policy of SB3 as a module of torch.

    The module takes observations ``(batch, obs_dim)`` to what ``policy.predict`` gives ``(batch, source_action_dim)``,
    float32, in the units of the policy's env and inside its bounds. Its gradient is that of the policy with respect to
    the observations, zero where an action is clipped. It holds a copy of the policy, in evaluation mode and without
    gradients of its parameters: a later training changes neither.

    Args:
        policy: Of SB3's PPO, A2C, SAC, TD3 or DDPG, over observations and actions that are a Box with one axis; or the
            algorithm that has it.
        observe: What the policy sees of the target's observations, as entries or normalised; by default all, as it is.

    Raises:
        TypeError: If the policy or one of its spaces is another.

    Example:
        >>> import torch
        >>> from stable_baselines3 import SAC
        >>> actions = source_actions(SAC("MlpPolicy", "Pendulum-v1", device="cpu"), lambda rows: rows[:, :3])
        >>> actions(torch.zeros(4, 5)).shape
        torch.Size([4, 1])
    """
    return _SourceActions(policy, observe)


def source_values(policy: BasePolicy | BaseAlgorithm, observe: Observe | None = None) -> nn.Module:
    """Return what a policy of SB3 expects to earn, discounted and in the units of its training's reward, as a module.

    The module takes observations ``(batch, obs_dim)`` to values ``(batch,)``, float32: of SAC and TD3 the smallest of
    the critics at the policy's deterministic action, through which it is differentiated as well, SAC's bonus for the
    entropy of that action left out; of PPO and A2C the value function. It holds a frozen copy as ``source_actions``
    does.

    Args:
        policy: As in ``source_actions``.
        observe: As in ``source_actions``.

    Raises:
        TypeError: If the policy or one of its spaces is another.

    Example:
        >>> import torch
        >>> from stable_baselines3 import PPO
        >>> source_values(PPO("MlpPolicy", "Pendulum-v1", device="cpu"))(torch.zeros(4, 3)).shape
        torch.Size([4])
    """
    return _SourceValues(policy, observe)


class _FrozenSource(nn.Module):
    """A frozen copy of a policy, and what it sees."""

    def __init__(self, policy: BasePolicy | BaseAlgorithm, observe: Observe | None) -> None:
        super().__init__()
        self.policy = _frozen_copy(policy)
        self.observe = observe

    def train(self, mode: bool = True) -> "_FrozenSource":
        """Leave the policy in evaluation mode, also as a part of a module that is trained."""
        super().train(mode)
        self.policy.eval()
        return self

    def see(self, observations: Tensor) -> Tensor:
        """Return what the policy sees of observations ``(batch, obs_dim)``."""
        seen = observations if self.observe is None else self.observe(observations)
        if seen.shape[1:] != self.policy.observation_space.shape:
            raise ValueError(
                f"the source policy sees observations (batch, *{self.policy.observation_space.shape}), got "
                f"{tuple(seen.shape)}: pass observe"
            )
        return seen

    def policy_actions(self, seen: Tensor) -> Tensor:
        """Return the mode of the policy's distribution: in [-1, 1] where it squashes, else not yet clipped."""
        return self.policy._predict(seen, deterministic=True)


class _SourceActions(_FrozenSource):
    def __init__(self, policy: BasePolicy | BaseAlgorithm, observe: Observe | None) -> None:
        super().__init__(policy, observe)
        action_space: Any = self.policy.action_space  # a Box, as _frozen_copy checked
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.tensor(action_space.low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(action_space.high, dtype=torch.float32))

    def forward(self, observations: Tensor) -> Tensor:
        actions = self.policy_actions(self.see(observations))  # (B, A)
        if self.policy.squash_output:
            actions = self.low + 0.5 * (actions + 1.0) * (self.high - self.low)
        return actions.clamp(self.low, self.high)


class _SourceValues(_FrozenSource):
    def forward(self, observations: Tensor) -> Tensor:
        seen = self.see(observations)
        if isinstance(self.policy, ActorCriticPolicy):
            return self.policy.predict_values(seen).squeeze(1)
        # SB3 trains its critics on actions scaled to [-1, 1], as the actor gives them.
        critics = torch.cat(self.policy.critic(seen, self.policy_actions(seen)), dim=1)  # (B, critics)
        return critics.min(dim=1).values


def _frozen_copy(policy: BasePolicy | BaseAlgorithm) -> ActorCriticPolicy | SACPolicy | TD3Policy:
    source = policy.policy if isinstance(policy, BaseAlgorithm) else policy
    if not isinstance(source, ActorCriticPolicy | SACPolicy | TD3Policy):
        raise TypeError(
            f"expected an ActorCriticPolicy (PPO, A2C), a SACPolicy or a TD3Policy (TD3, DDPG) of SB3, or an algorithm "
            f"with one; got {type(source).__name__}"
        )
    for space in (source.observation_space, source.action_space):
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise TypeError(f"expected observations and actions of a Box with one axis, got {space}")
    # A distribution keeps tensors of its last graph, which deepcopy refuses; a shallow copy sets its own at each call.
    distributions = [module.action_dist for module in source.modules() if hasattr(module, "action_dist")]
    frozen = copy.deepcopy(source, {id(distribution): copy.copy(distribution) for distribution in distributions})
    if not isinstance(frozen, ActorCriticPolicy):
        # A critic that shares its features with the actor would cut their gradient, for its own training's sake.
        frozen.critic.share_features_extractor = False
    return frozen.requires_grad_(False).eval()
