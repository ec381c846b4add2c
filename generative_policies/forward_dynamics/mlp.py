"""Forward dynamics by regression."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative_policies.forward_dynamics.ensemble import MlpEnsemble
from generative_policies.models.arrays import Array, ArrayT, as_caller, as_rows, check_rows, evaluating, parameter_like
from generative_policies.models.dimensions import check_dim, check_net_arch
from generative_policies.models.normalizer import Normalizer


class MlpForwardDynamics(nn.Module):
    """The observation that an action leads to, (s, a) -> s', as several networks predict it.

    Each member sees the normalised observation beside the normalised action, and predicts the normalised *change* of
    the observation: a single step changes it by little of its overall spread.

    Args:
        obs_dim: Width of the observation.
        action_dim: Width of the action.
        net_arch: Hidden widths of each member.
        members: Number of networks, which differ by their initial weights.

    Raises:
        ValueError: If a dimension, a width or ``members`` is not positive.

    Example:
        >>> model = MlpForwardDynamics(obs_dim=23, action_dim=7, members=3)
        >>> obs, actions, next_obs = torch.randn(8, 23), torch.randn(8, 7), torch.randn(8, 23)
        >>> loss = model(obs, actions, next_obs)
        >>> model.next_states(obs, actions).shape, model.predict(obs, actions).shape
        (torch.Size([3, 8, 23]), torch.Size([8, 23]))
    """

    def __init__(self, obs_dim: int, action_dim: int, net_arch: Sequence[int] = (32, 32), members: int = 2) -> None:
        super().__init__()
        self.config = {
            "obs_dim": obs_dim,
            "action_dim": action_dim,
            "net_arch": check_net_arch(net_arch, minimum=0),
            "members": members,
        }
        self.obs_dim = check_dim("obs_dim", obs_dim)
        self.action_dim = check_dim("action_dim", action_dim)
        self.members = check_dim("members", members)
        self.observation_normalizer = Normalizer(obs_dim)
        self.action_normalizer = Normalizer(action_dim)
        self.change_normalizer = Normalizer(obs_dim)
        self.network = MlpEnsemble(obs_dim + action_dim, obs_dim, net_arch, members)

    def forward(
        self, obs: Tensor, actions: Tensor, next_obs: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the mean squared error of the change, in normalised units, over all members.

        Args:
            obs: ``(batch, obs_dim)``.
            actions: ``(batch, action_dim)``.
            next_obs: ``(batch, obs_dim)``.
            generator: Not used, the loss has no randomness.

        Returns:
            A scalar with gradients.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        self.check_transitions(obs, actions, next_obs)
        predicted = self._normalized_changes(obs, actions)  # (members, B, O)
        change = self.change_normalizer.normalize(next_obs - obs)  # (B, O)
        return nn.functional.mse_loss(predicted, change.expand_as(predicted))

    def next_states(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return each member's next observations, differentiable in parameters and inputs.

        Args:
            obs: ``(batch, obs_dim)``.
            actions: ``(batch, action_dim)``.

        Returns:
            ``(members, batch, obs_dim)``, in raw units.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        self.check_transitions(obs, actions)
        return obs + self.change_normalizer.denormalize(self._normalized_changes(obs, actions))

    def next_state(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return the mean of the members' next observations, differentiable in parameters and inputs.

        Args:
            obs: ``(batch, obs_dim)``.
            actions: ``(batch, action_dim)``.

        Returns:
            ``(batch, obs_dim)``, in raw units.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        self.check_transitions(obs, actions)
        return self._mean_next_state(obs, actions)

    def rollout(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return the observations after each of several actions, open loop, with the members' mean at each step.

        Args:
            obs: ``(batch, obs_dim)``, where it starts.
            actions: ``(batch, steps, action_dim)``, at least one step.

        Returns:
            ``(batch, steps, obs_dim)``, in raw units, differentiable in parameters and inputs.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        like = parameter_like(self)
        check_rows("obs", obs, (self.obs_dim,), like=like)
        if isinstance(actions, Tensor) and (actions.ndim != 3 or actions.shape[1] == 0):
            raise ValueError(
                f"actions must have shape ({len(obs)}, steps, {self.action_dim}) and at least one step, "
                f"got {tuple(actions.shape)}"
            )
        steps = actions.shape[1] if isinstance(actions, Tensor) else 1  # another type is refused here
        check_rows("actions", actions, (steps, self.action_dim), len(obs), like)
        visited: list[Tensor] = []
        for action in actions.unbind(dim=1):
            obs = self._mean_next_state(obs, action)
            visited.append(obs)
        return torch.stack(visited, dim=1)

    def predict(self, obs: ArrayT, actions: Array) -> ArrayT:
        """Return the mean next observations without gradients, in the kind, rank and dtype of ``obs``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            actions: ``(action_dim,)`` or ``(batch, action_dim)``.

        Returns:
            ``(obs_dim,)`` or ``(batch, obs_dim)``.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        like = parameter_like(self)
        obs_rows = as_rows("obs", obs, (self.obs_dim,), like)
        action_rows = as_rows("actions", actions, (self.action_dim,), like)
        with evaluating(self, rows_are_checked=True, inference=True):
            answer = self.next_state(obs_rows, action_rows)
        return as_caller(answer, obs, single=obs.ndim == 1)

    def fit_normalizers(self, obs: Tensor, actions: Tensor, next_obs: Tensor) -> None:
        """Fit the statistics from training data, shaped as in the loss."""
        self.check_transitions(obs, actions, next_obs)
        self.observation_normalizer.fit(obs)
        self.action_normalizer.fit(actions)
        self.change_normalizer.fit(next_obs - obs)

    def check_transitions(self, obs: Tensor, actions: Tensor, next_obs: Tensor | None = None) -> None:
        """Check the shapes of a batch, with ``next_obs`` of one to train on.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong, or training data are empty.
        """
        like = parameter_like(self)
        check_rows("obs", obs, (self.obs_dim,), like=like)
        check_rows("actions", actions, (self.action_dim,), len(obs), like)
        if next_obs is not None:
            check_rows("next_obs", next_obs, (self.obs_dim,), len(obs), like)
            if len(obs) == 0:
                raise ValueError("training needs at least one row, got none")

    def _mean_next_state(self, obs: Tensor, actions: Tensor) -> Tensor:
        """The next observations of rows that are checked."""
        return obs + self.change_normalizer.denormalize(self._normalized_changes(obs, actions).mean(dim=0))

    def _normalized_changes(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Each member's change ``(members, batch, obs_dim)`` in standard units."""
        seen = [self.observation_normalizer.normalize(obs), self.action_normalizer.normalize(actions)]
        changes: Tensor = self.network(torch.cat(seen, dim=-1))
        return changes
