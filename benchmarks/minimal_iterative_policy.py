"""The honest two-step baseline of flow policies: regression, refined once.

Source: Pan et al. 2025, Much Ado About Noising (minimal iterative policy).
"""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces import Space
from numpy.typing import NDArray
from torch import Tensor, nn

from generative_policies.models import DictObservationEncoder, Normalizer, ResidualMlp
from generative_policies.models.arrays import evaluating
from generative_policies.policies import ClonedPolicy

REFINED_AT = 0.9  # the time t* of the second step


class MinimalIterativeModel(nn.Module):
    """Predicts a, first from the condition alone, then from a noisy guess of a.

    Loss: E|f(0, 0, c) - a|^2 + E|f(t* a + (1 - t*) z, t*, c) - a|^2.

    Args:
        action_dim: Width of an action.
        encoder: Of the condition.
        net_arch: Hidden widths.
        horizon: Steps of a chunk.
    """

    def __init__(self, action_dim: int, encoder: DictObservationEncoder, net_arch: Sequence[int], horizon: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.target_normalizer = Normalizer(action_dim)
        self.network = ResidualMlp(action_dim, encoder.output_dim, net_arch, horizon=horizon)
        self.sample_shape = (action_dim,) if horizon == 1 else (horizon, action_dim)

    def forward(self, target: Tensor, condition: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss, in normalised units."""
        features = self.encoder(*self.encoder.check(condition))
        x_1 = self.target_normalizer.normalize(target)
        noisy = REFINED_AT * x_1 + (1 - REFINED_AT) * torch.randn(x_1.shape, generator=generator)
        first = self._predict(torch.zeros_like(x_1), 0.0, features)
        second = self._predict(noisy, REFINED_AT, features)
        return nn.functional.mse_loss(first, x_1) + nn.functional.mse_loss(second, x_1)

    def predict(self, condition: Any) -> NDArray[Any]:
        """Return the refined prediction without gradients."""
        inputs = self.encoder.rows(condition)
        with evaluating(self):
            features = self.encoder(*inputs)
            guess = self._predict(features.new_zeros((len(features), *self.sample_shape)), 0.0, features)
            refined = self._predict(REFINED_AT * guess, REFINED_AT, features)
            answer: NDArray[Any] = self.target_normalizer.denormalize(refined).numpy()
        return answer

    def fit_normalizers(self, target: Tensor, condition: Any) -> None:
        """Fit the statistics."""
        self.target_normalizer.fit(target)
        self.encoder.fit_normalizers(*self.encoder.check(condition))

    def _predict(self, x: Tensor, t: float, features: Tensor) -> Tensor:
        answer: Tensor = self.network(x, x.new_full((len(x),), t), features)
        return answer


class MinimalIterativePolicy(ClonedPolicy):
    """A policy of the two-step baseline; arguments as those of ``MlpPolicy``."""

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        net_arch: Sequence[int] = (256, 256),
        *,
        horizon: int = 1,
        replan_interval: int | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            noise_per_step=0,
            net_arch=net_arch,
            horizon=horizon,
            replan_interval=replan_interval,
            history=1,
            image_features=32,
            squash_output=False,
            block=16,
        )
        self.model: MinimalIterativeModel = MinimalIterativeModel(self.action_dim, self.encoder(), net_arch, horizon)

    def plan(self, rows: Any, noise: NDArray[Any] | None) -> NDArray[Any]:
        """Predict the next actions."""
        answer = self.model.predict(rows)
        return answer.reshape(len(answer), self.horizon, self.action_dim)
