"""TensorFlow Serving's messages without TensorFlow, in a descriptor pool of their own.

`tensorflow-serving-api` depends on all of TensorFlow, so the gateway and the load test cannot use
it.  The messages here carry the original names and field numbers (an Any's type URL and text-proto
errors need the names).  Living in a private pool they never meet TensorFlow's own in the default
one, and being built from a descriptor set, not from generated code, they run on any protobuf
release.  `make proto` compiles the .proto files beside this one.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory, wrappers_pb2

pool = descriptor_pool.DescriptorPool()


def add(descriptor_set: bytes) -> None:
    """Add a serialized FileDescriptorSet to the pool; a file already there is left as it is."""
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
        try:
            pool.FindFileByName(file.name)
        except KeyError:
            pool.Add(file)


def message(name: str) -> Any:
    """Return the message class of a full name, e.g. `tensorflow.TensorProto`."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


for _well_known in (any_pb2, wrappers_pb2, duration_pb2):
    pool.AddSerializedFile(_well_known.DESCRIPTOR.serialized_pb)
add(resources.files(__name__).joinpath("wire.binpb").read_bytes())

TensorProto = message("tensorflow.TensorProto")
SignatureDef = message("tensorflow.SignatureDef")
ModelSpec = message("tensorflow.serving.ModelSpec")
PredictRequest = message("tensorflow.serving.PredictRequest")
PredictResponse = message("tensorflow.serving.PredictResponse")
SignatureDefMap = message("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest = message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = message("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest = message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = message("tensorflow.serving.GetModelStatusResponse")
PredictionLog = message("tensorflow.serving.PredictionLog")

DataType = pool.FindEnumTypeByName("tensorflow.DataType").values_by_name
STATES = pool.FindEnumTypeByName("tensorflow.serving.ModelVersionStatus.State").values_by_number

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
