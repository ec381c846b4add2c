"""A flow's student: one or a few Euler steps that lead where the teacher's many do.

Source: Liu et al. 2023, Flow Straight and Fast (distillation); Park et al. 2025, Flow Q-Learning.
"""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn

from generative_policies.models.dimensions import check_num_steps
from generative_policies.models.encoders import Condition, Encoder
from generative_policies.models.flow import ConditionalFlowModel
from generative_policies.models.generative_model import GenerativeModel
from generative_policies.models.priors import Prior
from generative_policies.models.residual_mlp import ResidualMlp

FROM_ITS_TEACHER = (
    "a distilled flow learns from its teacher's samples, not from data: see training.distill, or train a "
    "ConditionalFlowModel and distill that"
)


class DistilledFlowModel(ConditionalFlowModel):
    """A map of x_0 and condition to the sample, in a fixed number of Euler steps.

    It learns pairs of noise and sample from its teacher, see ``training.distill``. The map is a function, so that the
    squared error averages no modes. It samples as every flow does, with the number of steps that it learned alone.

    Args:
        target_dim: Width D of the target.
        cond_dim: Width C of the condition features, 0 for an unconditional model.
        num_steps: Its Euler steps.
        horizon: Steps H of a chunk; at 1 targets are ``(batch, D)``, above ``(batch, H, D)``.
        network: A velocity network, see ``VelocityNetwork``; ``ResidualMlp`` of three layers of 256 by default,
            which does not see the time where there is but one step.
        prior: The distribution of x_0; ``GaussianPrior(target_dim)`` by default.
        encoder: Maps the condition to ``cond_dim`` features; ``IdentityEncoder(cond_dim)`` by default.

    Raises:
        ValueError: If the parts do not fit together, or ``num_steps`` is not positive.

    Example:
        >>> student = DistilledFlowModel.of(ConditionalFlowModel(target_dim=2, cond_dim=3))
        >>> student.predict(condition=torch.randn(8, 3)).shape
        torch.Size([8, 2])
    """

    def __init__(
        self,
        target_dim: int,
        cond_dim: int = 0,
        num_steps: int = 1,
        *,
        horizon: int = 1,
        network: nn.Module | None = None,
        prior: Prior | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.default_num_steps = check_num_steps(num_steps)
        time_dim = 0 if num_steps == 1 else 32  # a single step starts at the same time always
        super().__init__(
            target_dim,
            cond_dim,
            horizon=horizon,
            network=network or ResidualMlp(target_dim, cond_dim, (256, 256, 256), time_dim, horizon=horizon),
            prior=prior,
            encoder=encoder,
        )
        self.config = {
            "target_dim": target_dim,
            "cond_dim": cond_dim,
            "num_steps": num_steps,
            "horizon": horizon,
            "network": network,
            "prior": prior,
            "encoder": encoder,
        }

    @classmethod
    def of(cls, teacher: GenerativeModel, num_steps: int = 1, network: nn.Module | None = None) -> Self:
        """Return an untrained student with the sizes of a teacher, and copies of its prior, encoder and statistics.

        It has the teacher's dtype and lives where the teacher does.

        Args:
            teacher: A flow.
            num_steps: The student's Euler steps.
            network: The student's velocity network; the default one otherwise.
        """
        config: dict[str, Any] = {name: copy.deepcopy(teacher.config[name]) for name in ("prior", "encoder")}
        student = cls(
            teacher.target_dim,
            teacher.cond_dim,
            num_steps,
            horizon=teacher.horizon,
            network=copy.deepcopy(network),  # it is trained
            **config,
        )
        student.adopt_statistics(teacher)
        return student

    def forward(
        self,
        target: Tensor,
        condition: Condition | None = None,
        source: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Refuse: without the noise that leads to it, a target teaches a student nothing but the mean.

        Raises:
            TypeError: Always.
        """
        raise TypeError(FROM_ITS_TEACHER)

    def fit_normalizers(self, target: Tensor, condition: Condition | None = None, source: Tensor | None = None) -> None:
        """Refuse, before a training changes the statistics that the student has from its teacher.

        Raises:
            TypeError: Always.
        """
        raise TypeError(FROM_ITS_TEACHER)

    def check_solver(self, num_steps: int, solver: str) -> None:
        """Check that these are the student's own, see ``ConditionalFlowModel.check_solver``."""
        if num_steps != self.default_num_steps or solver != "euler":
            raise ValueError(
                f"this flow was distilled to num_steps={self.default_num_steps} with solver='euler' and knows no other "
                f"way, got num_steps={num_steps} with solver={solver!r}"
            )
