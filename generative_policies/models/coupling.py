"""Which drawn x_0 meets which target in a training batch.

Source: Tong et al. 2023, minibatch optimal transport; Kerrigan et al. 2024 and arXiv 2503.10636 for conditions.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@torch.no_grad()
def conditional_optimal_transport(
    x_0: Tensor, x_1: Tensor, condition: Tensor | None, condition_weight: float = 100.0
) -> Tensor:
    """Return the permutation of x_0 that makes the batch's paths shortest without mixing conditions.

    The cost of a pair is ||x_0 - x_1||^2 + w ||c_0 - c_1||^2: each x_0 comes with the condition of the row that it was
    drawn in. With w = 0, the naive transport, noise sorts itself by condition in training, which it does not when
    sampling, and conditional distributions come out wrong; as w grows, it becomes the independent coupling.

    Args:
        x_0: ``(batch, ...)``, the drawn starts.
        x_1: ``(batch, ...)``, the targets.
        condition: ``(batch, cond_dim)`` features, or ``None``.
        condition_weight: The weight w.

    Returns:
        ``(batch,)`` indices: ``x_0[indices]`` belongs to ``x_1`` row by row.
    """
    cost = torch.cdist(x_1.flatten(1), x_0.flatten(1)).square()
    if condition is not None:
        cost = cost + condition_weight * torch.cdist(condition, condition).square()
    _, columns = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(columns, device=x_0.device)
