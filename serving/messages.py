"""The server's own messages, beside the wire's: configuration, warmup logs, fast tensors."""

from __future__ import annotations

from importlib import resources

from digits import wire
from digits.wire import TensorProto, message

wire.add(resources.files(__name__.rpartition(".")[0]).joinpath("serving.binpb").read_bytes())

FastTensor = message("digits.fast.Tensor")
SavedGraph = message("digits.fast.SavedGraph")
OpList = message("digits.fast.OpList")
InputEntries = message("digits.fast.InputEntries")
InputEntry = message("digits.fast.InputEntry")
Examples = message("digits.fast.Examples")
Labels = message("digits.fast.Labels")
PredictRequest = message("digits.fast.PredictRequest")
PredictResponse = message("digits.fast.PredictResponse")
Example = message("tensorflow.Example")
Input = message("tensorflow.serving.Input")
ClassificationRequest = message("tensorflow.serving.ClassificationRequest")
ClassificationResponse = message("tensorflow.serving.ClassificationResponse")
ClassificationResult = message("tensorflow.serving.ClassificationResult")
RegressionRequest = message("tensorflow.serving.RegressionRequest")
RegressionResponse = message("tensorflow.serving.RegressionResponse")
RegressionResult = message("tensorflow.serving.RegressionResult")
MultiInferenceRequest = message("tensorflow.serving.MultiInferenceRequest")
MultiInferenceResponse = message("tensorflow.serving.MultiInferenceResponse")
ModelServerConfig = message("tensorflow.serving.ModelServerConfig")
ModelConfig = message("tensorflow.serving.ModelConfig")
ReloadConfigRequest = message("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = message("tensorflow.serving.ReloadConfigResponse")
BatchingParameters = message("tensorflow.serving.BatchingParameters")
MonitoringConfig = message("tensorflow.serving.MonitoringConfig")
SslConfig = message("tensorflow.serving.SSLConfig")
ConfigProto = message("tensorflow.ConfigProto")

__all__ = ["TensorProto"]
