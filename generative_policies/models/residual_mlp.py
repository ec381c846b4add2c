"""A residual MLP velocity network for low-dimensional targets."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from generative_policies.models.dimensions import check_dim, check_net_arch
from generative_policies.models.solvers import IndexedVelocity
from generative_policies.models.velocity import TimeEmbedding, as_function, check_network_inputs, is_plain

silu, linear = nn.functional.silu, nn.functional.linear


class ResidualMlp(nn.Module):
    """Velocity network of residual layers; point, time and condition enter together at the input.

    Follows the contract of ``VelocityNetwork``. A chunk is flattened, so every step sees every other.

    Args:
        target_dim: Width of one step of the target.
        cond_dim: Width of the condition features, 0 for none.
        net_arch: Hidden widths; a layer is residual where its width equals the previous one.
        diffusion_step_embed_dim: Number of time features, even; 0 where the time is always the same, as for a student
            of one step.
        horizon: Steps of a chunk; 1 for targets of shape ``(batch, target_dim)``.

    Example:
        >>> network = ResidualMlp(7, cond_dim=23, net_arch=(64, 64))
        >>> network(torch.zeros(5, 7), torch.zeros(5), torch.zeros(5, 23)).shape
        torch.Size([5, 7])
    """

    def __init__(
        self,
        target_dim: int,
        cond_dim: int = 0,
        net_arch: Sequence[int] = (32, 32),
        diffusion_step_embed_dim: int = 32,
        *,
        horizon: int = 1,
    ) -> None:
        super().__init__()
        check_dim("horizon", horizon)
        widths = check_net_arch(net_arch)
        flat_dim = horizon * check_dim("target_dim", target_dim)
        self.config = {
            "target_dim": target_dim,
            "cond_dim": check_dim("cond_dim", cond_dim, minimum=0),
            "net_arch": widths,
            "diffusion_step_embed_dim": check_dim("diffusion_step_embed_dim", diffusion_step_embed_dim, minimum=0),
            "horizon": horizon,
        }
        self.cond_dim = cond_dim
        self.point_shape = (target_dim,) if horizon == 1 else (horizon, target_dim)
        self.time_embedding = TimeEmbedding(diffusion_step_embed_dim) if diffusion_step_embed_dim else None
        self.input = nn.Linear(flat_dim + diffusion_step_embed_dim + cond_dim, widths[0])
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.output = nn.Linear(widths[-1], flat_dim)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor | None) -> Tensor:
        """Return the velocity in the shape of ``x``, see ``VelocityNetwork``."""
        check_network_inputs(x, t, condition, self.point_shape, self.cond_dim)
        inputs = [x.flatten(1)]
        if self.time_embedding is not None:
            inputs.append(self.time_embedding(t))
        if condition is not None:
            inputs.append(condition)
        h = self.input(torch.cat(inputs, dim=-1) if len(inputs) > 1 else inputs[0])
        return self._as_function()(h).reshape(x.shape)

    def at_times(self, times: Tensor, condition: Tensor | None) -> IndexedVelocity:
        """Return the velocity at each of the times ``(num_evaluations,)``, see ``VelocityNetwork``."""
        if not is_plain(self.input, nn.Linear):
            return lambda x, number: self(x, times[number].expand(len(x)), condition)
        function = self._as_function()
        weight, bias = self.input.weight, self.input.bias
        time = times.new_zeros(len(times), 0) if self.time_embedding is None else self.time_embedding(times)
        flat_dim = weight.shape[1] - time.shape[1] - self.cond_dim
        for_point, for_time, for_condition = torch.split(weight, [flat_dim, time.shape[1], self.cond_dim], dim=1)
        rows = linear(time, for_time, bias)  # (num_evaluations, width)
        shared = None if condition is None else linear(condition, for_condition)  # (B, width)
        if shared is not None and len(shared) == 1:
            rows, shared = rows + shared, None
        biases = rows.unbind()

        def velocity(x: Tensor, number: int) -> Tensor:
            h = linear(x.flatten(1), for_point, biases[number])
            return function(h if shared is None else h + shared).reshape(x.shape)

        return velocity

    def _as_function(self) -> Callable[[Tensor], Tensor]:
        """Return the way from the first layer to the flat velocity with the parameters looked up."""
        hidden, output = [as_function(layer) for layer in self.hidden], as_function(self.output)

        def function(h: Tensor) -> Tensor:
            for layer in hidden:
                update = layer(silu(h))
                h = h + update if update.shape == h.shape else update
            return output(silu(h))

        return function
