"""Status, metadata and reload over gRPC, with the official client."""

from __future__ import annotations

from typing import Any

import pytest
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2
from tensorflow_serving.config import model_server_config_pb2


def status_of(name: str, version: int | None = None, label: str | None = None) -> Any:
    """A GetModelStatusRequest."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def test_status_lists_versions_highest_first(target: Any) -> None:
    response = target.call("GetModelStatus", status_of("shift"))
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    shown = [(s.version, s.state, s.status.error_code, s.status.error_message) for s in response.model_version_status]
    assert shown == [(2, available, 0, ""), (1, available, 0, "")]


def test_status_of_one_version_is_that_versions(target: Any) -> None:
    response = target.call("GetModelStatus", status_of("shift", version=1))
    assert [s.version for s in response.model_version_status] == [1]


def test_status_ignores_labels_even_unknown_ones(target: Any) -> None:
    assert len(target.call("GetModelStatus", status_of("shift", label="nobody")).model_version_status) == 2


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("absent", None, "Could not find any versions of model absent"),
        ("", None, "Could not find any versions of model "),
        ("shift", 99, "Could not find version 99 of model shift"),
        ("absent", 7, "Could not find version 7 of model absent"),
    ],
)
def test_status_of_what_is_not_there_is_not_found(target: Any, name: str, version: int | None, text: str) -> None:
    assert target.refusal("GetModelStatus", status_of(name, version)) == ("NOT_FOUND", text)


def metadata_of(name: str, *fields: str) -> Any:
    """A GetModelMetadataRequest."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def test_metadata_holds_every_signature(target: Any) -> None:
    response = target.call("GetModelMetadata", metadata_of("half_plus_two", "signature_def"))
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert sorted(signatures.signature_def) == [
        "classify_x_to_y", "regress_x2_to_y3", "regress_x_to_y", "regress_x_to_y2", "serving_default",
    ]  # fmt: skip
    default = signatures.signature_def["serving_default"]
    assert default.inputs["x"].name == "x:0"
    assert [dim.size for dim in default.inputs["x"].tensor_shape.dim] == [-1, 1]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (123, "")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((), "GetModelMetadataRequest must specify at least one metadata_field"),
        (("weights",), "Metadata field weights is not supported"),
    ],
)
def test_metadata_knows_signature_def_only(target: Any, fields: tuple[str, ...], text: str) -> None:
    assert target.refusal("GetModelMetadata", metadata_of("absent", *fields)) == ("INVALID_ARGUMENT", text)


def model(**fields: Any) -> Any:
    """A ModelConfig with a platform."""
    return model_server_config_pb2.ModelConfig(**{"model_platform": "tensorflow", **fields})


@pytest.mark.parametrize(
    ("models", "text"),
    [
        (
            [model(name="m", base_path="/a"), model(name="m", base_path="/b")],
            "Illegal to list model m multiple times in config list",
        ),
        (
            [model(name="m", base_path="relative")],
            "Expected model m to have an absolute path or URI; got base_path()=relative",
        ),
        (
            [model(name="m", base_path="no scheme://m")],
            "Expected model m to have an absolute path or URI; got base_path()=no scheme://m",
        ),
        (
            [model(name="shift", base_path="/a", model_platform="caffe"), model(name="m", base_path="/a", model_platform="")],
            "Illegal to change a model's platform. For model shift platform was tensorflow and new platform requested is caffe",
        ),
    ],
)
def test_a_bad_configuration_is_refused_whole(target: Any, models: list[Any], text: str) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.extend(models)
    assert target.refusal("HandleReloadConfigRequest", request) == ("INVALID_ARGUMENT", text)
    assert len(target.call("GetModelStatus", status_of("shift")).model_version_status) == 2


def test_a_reload_must_be_a_list_of_models(target: Any) -> None:
    assert target.refusal("HandleReloadConfigRequest", model_management_pb2.ReloadConfigRequest()) == (
        "INVALID_ARGUMENT",
        "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported",
    )


def test_methods_that_are_not_served_are_unimplemented(target: Any) -> None:
    call = target.channel.unary_unary("/tensorflow.serving.SessionService/SessionRun")
    with pytest.raises(Exception, match="UNIMPLEMENTED"):
        call(b"", timeout=10)


def test_bytes_that_are_no_message_are_internal(target: Any) -> None:
    call = target.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(Exception, match="INTERNAL"):
        call(b"\xff\xff\xff", timeout=10)
