"""Exported models that predict a mean."""

from typing import Any, cast

from torch import nn

from generative_policies.export.input_shapes import input_encoder
from generative_policies.export.onnx_model import OnnxModel
from generative_policies.export.onnx_session import OnnxSession
from generative_policies.models.arrays import Array, ArrayT, as_caller, as_rows
from generative_policies.models.dimensions import check_dim
from generative_policies.models.encoders import Condition


class OnnxRegressor(OnnxModel):
    """An ``MlpRegressor`` that was exported; ``OnnxModel.load`` makes it.

    Args:
        session: The graph and its interface.

    Example:
        >>> import tempfile, torch
        >>> from generative_policies.export import export_onnx
        >>> from generative_policies.models import MlpRegressor
        >>> file = f"{tempfile.mkdtemp()}/regressor.onnx"
        >>> export_onnx(MlpRegressor(target_dim=2, cond_dim=3), file)
        >>> OnnxModel.load(file).predict(torch.zeros(8, 3)).shape
        torch.Size([8, 2])
    """

    def __init__(self, session: OnnxSession) -> None:
        nn.Module.__init__(self)
        self.hold(session)
        self.target_shape = session.interface.output_shape
        self.encoder = input_encoder(session.interface.arguments["encoder"], session.interface.inputs, 1)
        session.check_shapes(self.target_shape, *self.encoder.input_shapes)

    def forward(self, *inputs: Any, **named: Any) -> Any:  # whatever is asked for
        """Refuse: an exported model does not learn."""
        self.refuse()

    def predict(self, condition: Condition) -> Array:
        """Return the mean in the kind, rank and dtype of the condition, see ``MlpRegressor.predict``."""
        given = condition if isinstance(condition, tuple) else (condition,)
        answer = self.session.run_arrays(given, given[0], None, None)
        if answer is not None:
            return answer
        rows = self.encoder.rows(condition)
        reference, single = self.encoder.reference(condition)
        return as_caller(self.session.run(rows), reference, single)


class OnnxForwardDynamics(OnnxModel):
    """An ``MlpForwardDynamics`` that was exported, the mean of its members; ``OnnxModel.load`` makes it.

    Args:
        session: The graph and its interface.

    Example:
        >>> import tempfile, torch
        >>> from generative_policies.export import export_onnx
        >>> from generative_policies.forward_dynamics import MlpForwardDynamics
        >>> file = f"{tempfile.mkdtemp()}/dynamics.onnx"
        >>> export_onnx(MlpForwardDynamics(obs_dim=3, action_dim=2), file)
        >>> OnnxModel.load(file).predict(torch.zeros(8, 3), torch.zeros(8, 2)).shape
        torch.Size([8, 3])
    """

    def __init__(self, session: OnnxSession) -> None:
        nn.Module.__init__(self)
        self.hold(session)
        self.obs_dim = check_dim("obs_dim", session.interface.arguments["obs_dim"])
        self.action_dim = check_dim("action_dim", session.interface.arguments["action_dim"])
        session.check_shapes((self.obs_dim,), (self.obs_dim,), (self.action_dim,))

    def forward(self, *inputs: Any, **named: Any) -> Any:  # whatever is asked for
        """Refuse: an exported model does not learn."""
        self.refuse()

    def predict(self, obs: ArrayT, actions: Array) -> ArrayT:
        """Return the mean next observations, in the kind, rank and dtype of ``obs``.

        Args:
            obs: ``(obs_dim,)`` or ``(batch, obs_dim)``.
            actions: ``(action_dim,)`` or ``(batch, action_dim)``.

        Raises:
            ValueError: If a shape, the number of rows or an entry is wrong.
        """
        answer = self.session.run_arrays((obs, actions), obs, None, None)
        if answer is not None:
            return cast(ArrayT, answer)
        rows = (
            as_rows("obs", obs, (self.obs_dim,), self.like),
            as_rows("actions", actions, (self.action_dim,), self.like),
        )
        return as_caller(self.session.run(rows), obs, single=obs.ndim == 1)
