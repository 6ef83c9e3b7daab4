"""Which server is held against the conformance tests: one started here, or any address.

    pytest tests/conformance --target=host:8500,host:8501

An own target must serve the models of tests/serving_models.py by the models.config that it writes, started with
--allow_version_labels_for_unavailable_models (its labels are named before its versions are loaded).
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

RPC_S = 20.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Known only when this folder is named on the command line; without it a server is started here."""
    parser.addoption("--target", default="", help="host:port of gRPC, comma, host:port of REST; empty = start a server")


@dataclass
class Target:
    """The server under test, asked through the official client and plain HTTP."""

    grpc_address: str
    rest_address: str

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.grpc_address, options=[("grpc.max_receive_message_length", -1)])
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self._model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def call(self, method: str, request: Any) -> Any:
        """One RPC of PredictionService or ModelService."""
        stub = self._prediction if hasattr(self._prediction, method) else self._model
        return getattr(stub, method)(request, timeout=RPC_S)

    def refusal(self, method: str, request: Any) -> tuple[str, str]:
        """Code and text of an RPC that must fail."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, request)
        return caught.value.code().name, caught.value.details() or ""

    def rest(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers (lower-case names) of one HTTP request."""
        host, _, port = self.rest_address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=RPC_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read(), {name.lower(): value for name, value in response.getheaders()}
        finally:
            connection.close()

    def post(self, path: str, document: Any) -> tuple[int, Any]:
        """Status and parsed JSON of a POST; `document` is JSON text or a value."""
        text = document if isinstance(document, str) else json.dumps(document)
        status, body, _ = self.rest("POST", path, text)
        return status, json.loads(body)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The server named by --target, or one with the same models started for these tests."""
    named = request.config.getoption("--target", default="")
    if not named:
        models: Path = request.getfixturevalue("serving_models")
        server = request.getfixturevalue("serve")(
            f"--model_config_file={models}/models.config", "--allow_version_labels_for_unavailable_models"
        )
        named = f"{server.target},127.0.0.1:{server.rest_port}"
    grpc_address, _, rest_address = named.partition(",")
    made = Target(grpc_address, rest_address)
    yield made
    made.channel.close()
