"""The gRPC API: method paths, message classes, health."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from digits import wire
from serving import messages
from serving.configuration import Configuration
from serving.core import Core, unforeseen
from serving.grpc_calls import Call, Handler
from serving.map_entries import as_in_order, has_unknown, put_in_order
from serving.model_info import ModelInfo
from serving.status import Code, Status
from serving.turns import pass_on

PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL = "/tensorflow.serving.ModelService/"
UNDECODABLE = Status(Code.INTERNAL, "")
MANY_EXAMPLES = 500
"""So many take a millisecond to look through, however small they are."""

Inference = Callable[[Any, float | None, Callable[[Any], None]], None]


def handlers(core: Core, info: ModelInfo, configuration: Configuration, health: bool) -> dict[str, Handler]:
    """Every method the port answers."""
    table = {
        PREDICTION + "Predict": _inference(core.predict, read_predict),
        PREDICTION + "Classify": _inference(core.classify, _with_examples(messages.ClassificationRequest)),
        PREDICTION + "Regress": _inference(core.regress, _with_examples(messages.RegressionRequest)),
        PREDICTION + "MultiInference": _inference(core.multi_inference, _with_examples(messages.MultiInferenceRequest)),
        PREDICTION + "GetModelMetadata": _question(info.metadata, wire.GetModelMetadataRequest.FromString),
        MODEL + "GetModelStatus": _question(info.status, wire.GetModelStatusRequest.FromString),
        MODEL + "HandleReloadConfigRequest": _question(configuration.reload, read_reload),
    }
    if health:
        table["/grpc.health.v1.Health/Check"] = _question(check_health, HealthCheckRequest.FromString)
    return table


def read_predict(data: bytes) -> Any:
    """A PredictRequest's bytes → digits.fast.PredictRequest.  Raises DecodeError for whatever is no PredictRequest.

    The fast form takes what it does not know as it comes.  Where there is such, the whole message is read as what it is, and
    written anew: checked, and in one order.
    """
    request = messages.PredictRequest.FromString(data)
    other = as_in_order(request, data)
    if other is not None:
        return other
    for tensor in request.inputs.values():
        if _is_doubtful(tensor):
            return messages.PredictRequest.FromString(wire.PredictRequest.FromString(data).SerializeToString())
    return request


def _is_doubtful(tensor: Any) -> bool:
    if len(UnknownFieldSet(tensor)):
        return True
    return any(len(chunk) % 4 for chunk in tensor.float_val) or any(len(chunk) % 8 for chunk in tensor.double_val)


def _with_examples(request_class: Any) -> Callable[[bytes], Any]:
    """How to read a request that has tf.Examples."""

    def read(data: bytes) -> Any:
        request = request_class.FromString(data)
        given = _examples_of(request)
        if len(given) > MANY_EXAMPLES:
            pass_on()
        doubtful = [at for at, example in enumerate(given) if has_unknown(example.features)]
        if doubtful:
            pass_on()
            twins = _examples_of(messages.Examples.FromString(data))
            for at in doubtful:
                put_in_order(given[at].features, "feature", twins[at].features)
        return request

    return read


def _examples_of(request: Any) -> Sequence[Any]:
    """All of them, a context after the others."""
    kind = request.input.WhichOneof("kind")
    if kind == "example_list_with_context":
        given = request.input.example_list_with_context
        return [*given.examples, given.context]
    examples: Sequence[Any] = getattr(request.input, kind).examples if kind else ()
    return examples


def read_reload(data: bytes) -> Any:
    """A ReloadConfigRequest's bytes → the message, its labels as C++ reads them.  Raises DecodeError."""
    request = messages.ReloadConfigRequest.FromString(data)
    models = request.config.model_config_list.config
    doubtful = [at for at, model in enumerate(models) if has_unknown(model)]
    if doubtful:
        twins = messages.Labels.FromString(data).config.model_config_list.config
        for at in doubtful:
            put_in_order(models[at], "version_labels", twins[at])
    return request


def _inference(method: Inference, read: Callable[[bytes], Any]) -> Handler:
    def handle(call: Call, data: bytes) -> None:
        try:
            request = read(data)
        except DecodeError:
            call.refuse(UNDECODABLE)
            return
        method(request, call.deadline, lambda result: _send(call, result))

    return handle


def _question(method: Callable[[Any], Any], read: Callable[[bytes], Any]) -> Handler:
    def handle(call: Call, data: bytes) -> None:
        pass_on()  # a reload waits for models
        try:
            result = method(read(data))
        except DecodeError:
            result = UNDECODABLE
        except Status as status:
            result = status
        _send(call, result)

    return handle


def _send(call: Call, result: Any) -> None:
    if isinstance(result, Status):
        call.refuse(result)
        return
    try:
        data = result.SerializeToString()
    except Exception as exc:  # past 2 GiB, say
        call.refuse(unforeseen(exc))
        return
    call.reply(data)


# -- grpc.health.v1, written out here: grpcio-health-checking would bring the aio and sync servers' glue for three fields ----


def _health_messages() -> tuple[Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="grpc.health.v1", syntax="proto3")
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=9, label=1)
    response = file.message_type.add(name="HealthCheckResponse")
    states = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")):
        states.value.add(name=name, number=number)
    response.field.add(name="status", number=1, type=14, label=1, type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus")
    wire.pool.Add(file)
    return wire.message("grpc.health.v1.HealthCheckRequest"), wire.message("grpc.health.v1.HealthCheckResponse")


HealthCheckRequest, HealthCheckResponse = _health_messages()
HEALTHY = ("", "ModelService", "PredictionService")


def check_health(request: Any) -> Any:
    """SERVING for the server and its two services by their short names.  Raises Status for others."""
    if request.service not in HEALTHY:
        raise Status(Code.NOT_FOUND, "service name unknown")
    return HealthCheckResponse(status=1)
