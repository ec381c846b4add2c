"""Models as files of ONNX, and runners of them for real time. Needs the extra ``export`` when called."""

from generative_policies.export.loading import load_model
from generative_policies.export.onnx_export import export_onnx
from generative_policies.export.onnx_model import OnnxModel
from generative_policies.export.recording import ExportError

__all__ = ["ExportError", "OnnxModel", "export_onnx", "load_model"]
