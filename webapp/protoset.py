"""TensorFlow Serving's API as a protoset, so that grpcurl can call the model server without its source tree."""

from __future__ import annotations

from functools import cache
from importlib import resources

from google.protobuf import any_pb2, descriptor_pb2, wrappers_pb2

from digits import wire

METHODS = {
    wire.PREDICT: (wire.PredictRequest, wire.PredictResponse),
    wire.GET_MODEL_METADATA: (wire.GetModelMetadataRequest, wire.GetModelMetadataResponse),
    wire.GET_MODEL_STATUS: (wire.GetModelStatusRequest, wire.GetModelStatusResponse),
}


@cache
def protoset() -> bytes:
    """A serialized FileDescriptorSet: the wire's messages, the services that carry them, and all imports first."""
    files = descriptor_pb2.FileDescriptorSet()
    for well_known in (any_pb2, wrappers_pb2):
        files.file.add().ParseFromString(well_known.DESCRIPTOR.serialized_pb)
    files.MergeFromString(resources.files(wire).joinpath("wire.binpb").read_bytes())
    services = files.file.add(name="services.proto", package="tensorflow.serving", syntax="proto3")
    services.dependency.extend(sorted({kind.DESCRIPTOR.file.name for pair in METHODS.values() for kind in pair}))
    for path, (request, response) in METHODS.items():
        _, service, method = path.split("/")
        name = service.removeprefix("tensorflow.serving.")
        found = next((one for one in services.service if one.name == name), None) or services.service.add(name=name)
        found.method.add(
            name=method, input_type=f".{request.DESCRIPTOR.full_name}", output_type=f".{response.DESCRIPTOR.full_name}"
        )
    serialized: bytes = files.SerializeToString(deterministic=True)
    return serialized
