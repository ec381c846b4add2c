"""Exported generative models."""

import torch
from torch import Tensor, nn

from generative_policies.export.input_shapes import input_encoder
from generative_policies.export.onnx_model import OnnxModel
from generative_policies.export.onnx_session import OnnxSession
from generative_policies.models import GenerativeModel, Normalizer, Prior
from generative_policies.models.arrays import Array, check_rows, common_batch, standard_normal
from generative_policies.models.dimensions import check_dim, check_num_steps
from generative_policies.models.encoders import Condition


class OnnxFlow(OnnxModel, GenerativeModel):  # type: ignore[override]  # its config is none
    """A flow, a distilled flow or a bridge's ODE that was exported; ``OnnxModel.load`` makes it.

    Args:
        session: The graph and its interface.

    Example:
        >>> import tempfile
        >>> from generative_policies.export import export_onnx
        >>> from generative_policies.models import ConditionalFlowModel
        >>> file = f"{tempfile.mkdtemp()}/flow.onnx"
        >>> export_onnx(ConditionalFlowModel(2), file, num_steps=4)
        >>> flow = OnnxModel.load(file)
        >>> flow.predict(batch_size=8).shape, flow.num_steps
        (torch.Size([8, 2]), 4)
    """

    def __init__(self, session: OnnxSession) -> None:
        nn.Module.__init__(self)  # there is no network to build
        described = session.interface
        arguments = described.arguments
        self.hold(session)
        self.default_solver = described.solver or ""  # type: ignore[misc]  # not the class's, the file's
        self.target_dim = check_dim("target_dim", arguments["target_dim"])
        self.cond_dim = check_dim("cond_dim", arguments["cond_dim"], minimum=0)
        self.horizon = check_dim("horizon", arguments["horizon"])
        encoder = arguments["encoder"]
        self.encoder = None if encoder is None else input_encoder(encoder, described.inputs, self.cond_dim)
        self._takes = self.encoder is not None, arguments["source_dim"] is not None
        self.prior = StartInside(self.target_dim, arguments["source_dim"])
        self.default_num_steps = check_num_steps(described.num_steps or 0)
        condition = () if self.encoder is None else self.encoder.input_shapes
        source = () if self.source_shape is None else (self.source_shape,)
        session.check_shapes(self.sample_shape, *condition, *source, self.sample_shape)

    def sample(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Tensor | None = None,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw samples without gradients, see ``GenerativeModel.sample``.

        Raises:
            ValueError: If an input is wrong, or steps or solver are other than the exported ones.
            NotImplementedError: Where gradients are recorded.
        """
        self.check_gradients()
        self.check_solver(num_steps, solver)
        inputs = self._inputs(condition) or ()
        self._check_source(source)
        if noise is not None:
            check_rows("noise", noise, self.sample_shape, like=self.like)
        batch = common_batch(batch_size, condition=inputs[0] if inputs else None, source=source, noise=noise)
        if noise is None:
            noise = standard_normal((batch, *self.sample_shape), self.like, generator)
        return self.session.run([*inputs, noise] if source is None else [*inputs, source, noise])

    def predict(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Array | None = None,
        num_steps: int | None = None,
        solver: str | None = None,
        generator: torch.Generator | None = None,
        noise: Array | None = None,
    ) -> Array:
        """Draw samples, see ``GenerativeModel.predict``; steps and solver can only be those that were exported."""
        self.check_solver(num_steps, solver)
        if batch_size is None and (condition is not None, source is not None) == self._takes:
            given = condition if isinstance(condition, tuple) else () if condition is None else (condition,)
            given = given if source is None else (*given, source)
            reference = source if source is not None else given[0] if given else noise
            answer = self.session.run_arrays(given, reference, generator, noise)
            if answer is not None:
                return answer
        return super().predict(batch_size, condition, source, num_steps, solver, generator, noise)

    def forward(
        self,
        target: Tensor,
        condition: Condition | None = None,
        source: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Refuse: an exported model does not learn."""
        self.refuse()

    def path_loss(self, x_0: Tensor, x_1: Tensor, features: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Refuse: an exported model does not learn."""
        self.refuse()

    def start(
        self,
        batch_size: int | None = None,
        condition: Condition | None = None,
        source: Tensor | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Refuse: where the paths start is inside of the graph."""
        self.refuse()

    def transport(
        self, x_0: Tensor, features: Tensor | None, num_steps: int, solver: str, generator: torch.Generator | None
    ) -> Tensor:
        """Refuse: the way is inside of the graph."""
        self.refuse()

    def fit_normalizers(self, target: Tensor, condition: Condition | None = None, source: Tensor | None = None) -> None:
        """Refuse: the statistics are inside of the graph."""
        self.refuse()


class StartInside(Prior):
    """The prior of an exported model, which is inside of its graph.

    Args:
        dim: Width of x_0.
        source_dim: Width of the source, ``None`` without one.
    """

    def x_0(self, noise: Tensor, source: Tensor | None, target_normalizer: Normalizer) -> Tensor:
        """Refuse: where the paths start is inside of the graph."""
        raise NotImplementedError("the prior of an exported model is inside of its graph")
