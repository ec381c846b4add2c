"""What an inverse dynamics sees of a transition: where it starts, and the change."""

import torch
from torch import Tensor

from generative_policies.models.encoders import Encoder, IdentityTwoInputEncoder
from generative_policies.models.normalizer import Normalizer


class ObservationChangeEncoder(Encoder):
    """The normalised observation beside the normalised difference of the leading part to the next one.

    A single step changes an observation by little of its overall spread, so the difference has statistics of its own.

    Args:
        obs_dim: Width of the observation.
        next_obs_dim: Width of the leading part whose next value is known.
    """

    def __init__(self, obs_dim: int, next_obs_dim: int) -> None:
        super().__init__()
        self.encoder = IdentityTwoInputEncoder(obs_dim, next_obs_dim)
        self.output_dim = obs_dim + next_obs_dim
        self.config = {"obs_dim": obs_dim, "next_obs_dim": next_obs_dim}
        self.input_shapes = ((obs_dim,), (next_obs_dim,))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the features of ``(obs, next_obs)``."""
        obs, next_obs = inputs
        features: Tensor = self.encoder(obs, next_obs - obs[:, : next_obs.shape[1]])
        return features

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics of observations and differences."""
        obs, next_obs = inputs
        self.encoder.fit_normalizers(obs, next_obs - obs[:, : next_obs.shape[1]])


class FeatureChangeEncoder(Encoder):
    """Features of the observation, by an encoder of its own, beside their change to the next observation.

    The change is normalised by statistics of its own, as the encoder's features are before training.

    Args:
        observation_encoder: Maps an observation to features; the same for both.
    """

    def __init__(self, observation_encoder: Encoder) -> None:
        super().__init__()
        self.observation_encoder = observation_encoder
        self.change_normalizer = Normalizer(observation_encoder.output_dim)
        self.output_dim = 2 * observation_encoder.output_dim
        self.config = {"observation_encoder": observation_encoder}
        self.input_shapes = 2 * observation_encoder.input_shapes

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the features of the inputs of ``obs`` and of ``next_obs``, in this order."""
        features, change = self._features_and_change(inputs)
        return torch.cat([features, self.change_normalizer.normalize(change)], dim=-1)

    def fit_normalizers(self, *inputs: Tensor) -> None:
        """Fit the statistics of observations, then those of the changes of their features."""
        self.observation_encoder.fit_normalizers(*inputs[: len(inputs) // 2])
        with torch.no_grad():
            self.change_normalizer.fit(self._features_and_change(inputs)[1])

    def _features_and_change(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        count = len(inputs) // 2
        features = self.observation_encoder(*inputs[:count])
        return features, self.observation_encoder(*inputs[count:]) - features


def transition_encoder(obs_dim: int, next_obs_dim: int, observation_encoder: Encoder | None) -> Encoder:
    """Return the encoder of transitions of vectors, or of what the observation's encoder takes."""
    if observation_encoder is None:
        return ObservationChangeEncoder(obs_dim, next_obs_dim)
    return FeatureChangeEncoder(observation_encoder)
