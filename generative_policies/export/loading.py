"""Loading a trained model, in whichever form it was written."""

import os
from typing import Any

from generative_policies.checkpoints import load
from generative_policies.export.onnx_model import OnnxModel


def load_model(path: str | os.PathLike[str]) -> Any:  # the class is the file's
    """Return the model of a checkpoint folder, or of a file that ``export_onnx`` wrote.

    Args:
        path: A folder that ``checkpoints.save`` wrote, or a file whose name ends in ``.onnx``.

    Returns:
        The model in evaluation mode and on the CPU, of the class that was saved or an ``OnnxModel``.

    Raises:
        CheckpointError: If the path holds no model.
        ImportError: If the file needs ONNX Runtime and it is not installed.

    Example:
        >>> import tempfile
        >>> from generative_policies.checkpoints import save
        >>> from generative_policies.models import MlpRegressor
        >>> folder = tempfile.mkdtemp()
        >>> save(MlpRegressor(target_dim=2, cond_dim=3), f"{folder}/model")
        >>> type(load_model(f"{folder}/model")).__name__
        'MlpRegressor'
    """
    return OnnxModel.load(path) if os.fspath(path).endswith(".onnx") else load(path)
