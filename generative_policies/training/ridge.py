"""Ridge regression of a linear translator, in closed form: the learner for a handful of episodes."""

import math
from typing import Any

import torch

from generative_policies.action_translation import MlpActionTranslator
from generative_policies.data import ActionPairDataset
from generative_policies.models.arrays import parameter_like

PENALTY = 10.0


@torch.no_grad()
def fit_ridge(translator: MlpActionTranslator, dataset: ActionPairDataset, penalty: float = PENALTY) -> None:
    """Solve for the weights of a linear translator, ``net_arch=()``.

    Heavier links, weaker motors and stiffer joints change torques almost linearly in source action and velocity, so
    that few pairs tell the correction. What they do not tell stays as the penalty pulls it: no correction.

    The normalisers stay as they are. Fit them on plenty of source data: a handful of episodes has no spread in what
    stays constant along one, and its own statistics would blow that up.

    Args:
        translator: With fitted normalisers and no hidden layer; its weights are replaced.
        dataset: Paired actions.
        penalty: Of the squared weights of normalised features, beside the sum of squared normalised errors over rows;
            the bias is free.

    Raises:
        ValueError: If the translator has hidden layers, the penalty is not positive, or shapes do not fit.
    """
    if translator.config["net_arch"]:
        raise ValueError(f"ridge regression is for net_arch=(), got {translator.config['net_arch']}")
    if not 0 < penalty < math.inf:
        raise ValueError(f"penalty must be positive and finite, got {penalty}")
    like = parameter_like(translator)
    obs, source, target = (
        torch.as_tensor(array).to(like) for array in (dataset.obs, dataset.source_actions, dataset.target_actions)
    )
    inputs = translator.check_pairs(obs, source, target)
    features = translator.encoder(*inputs, source).double()  # (rows, F)
    wanted = translator.action_normalizer.normalize(target)
    if translator.residual:
        wanted = wanted - translator.action_normalizer.normalize(source)
    wanted = wanted.double()
    middle, offset = features.mean(dim=0), wanted.mean(dim=0)  # of which the bias takes care
    centred = features - middle
    covariance = centred.T @ centred + penalty * torch.eye(len(middle), dtype=torch.float64)
    weight = torch.linalg.solve(covariance, centred.T @ (wanted - offset))  # (F, A)
    layer: Any = translator.network[-1]  # the only one
    layer.weight.copy_(weight.T)
    layer.bias.copy_(offset - middle @ weight)
