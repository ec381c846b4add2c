"""Which drawn x_0 meets which target in a training batch.

Source: Tong et al. 2023, minibatch optimal transport; Kerrigan et al. 2024 and arXiv 2503.10636 for conditions.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from generative_policies.models.arrays import same_batch


@torch.no_grad()
def conditional_optimal_transport(
    x_0: Tensor, x_1: Tensor, condition: Tensor | None, condition_weight: float = 100.0
) -> Tensor:
    """Return the permutation of x_0 that makes the batch's paths shortest without mixing conditions.

    The cost of a pair is ||x_0 - x_1||^2 + w ||c_0 - c_1||^2: each x_0 comes with the condition of the row that it was
    drawn in. Conditions count in units of their standard deviation over the batch, so that w does not depend on their
    scale. With w = 0, the naive transport, noise sorts itself by condition in training, which it does not when
    sampling, and conditional distributions come out wrong; as w grows, it becomes the independent coupling.

    Args:
        x_0: ``(batch, ...)``, the drawn starts.
        x_1: ``(batch, ...)``, the targets.
        condition: ``(batch, cond_dim)`` features, or ``None``.
        condition_weight: The weight w.

    Returns:
        ``(batch,)`` indices: ``x_0[indices]`` belongs to ``x_1`` row by row.

    Raises:
        ValueError: If numbers of rows differ.
    """
    same_batch(x_0=x_0, x_1=x_1, **({} if condition is None else {"condition": condition}))
    cost = _squared_distances(x_1.flatten(1), x_0.flatten(1))
    if condition is not None and len(condition) > 1:
        features = condition.flatten(1).double()
        spread = features.std(dim=0, correction=0)
        varying = spread > 1e-6 * features.abs().amax(dim=0)  # the others tell nothing, but for rounding
        features = features[:, varying] / spread[varying]
        cost = cost + condition_weight * _squared_distances(features, features)
    _, columns = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(columns, device=x_0.device)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
