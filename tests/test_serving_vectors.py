"""Every REST vector of the specification, put to the server over a real socket."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from serving import messages
from tests.conftest import ROOT, Server, StartServer

FILE = "tfs-json-vectors.json"
UNKNOWN = "Servable not found for request: "


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a vector; one that is skipped where the vectors are not at hand."""
    path = Path(os.environ.get("DIGITS_SHARED", ROOT.parent / "shared")) / "spec" / FILE
    document = json.loads(path.read_text()) if path.exists() else {"vectors": [None], "more": [], "urls": [None]}
    if "vector" in metafunc.fixturenames:
        vectors = document["vectors"] + document["more"]
        metafunc.parametrize("vector", vectors, ids=[v["id"] if v else "none" for v in vectors])
    if "url" in metafunc.fixturenames:
        metafunc.parametrize("url", document["urls"], ids=[u["method"] + u["path"] if u else "none" for u in document["urls"]])


@pytest.fixture(scope="module")
def server(shared: Path, tmp_path_factory: pytest.TempPathFactory, serve: StartServer) -> Iterator[Server]:
    """A server with a model for every vector."""
    if not (shared / "spec" / FILE).exists():
        pytest.skip(f"needs the vectors beside the project (spec/{FILE})")
    out = tmp_path_factory.mktemp("vectors")
    maker = [sys.executable, "-m", "tests.vector_models", str(shared / "spec" / FILE), str(out)]
    made = subprocess.run(maker, check=False, capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0, made.stderr[-2000:]
    running = serve(f"--model_config_file={out}/models.config")
    yield running
    running.stop()


def exchange(server: Server, method: str, path: str, body: str = "") -> tuple[int, bytes]:
    """Status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    try:
        connection.request(method, path, body.encode())
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def leaves(value: Any) -> list[Any]:
    """The values of nested lists; strings as bytes."""
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [base64.b64decode(value["b64"])] if isinstance(value, dict) else [value]


def shape(value: Any) -> list[int]:
    """Lengths down the first elements."""
    dims = []
    while isinstance(value, list):
        dims.append(len(value))
        if not value:
            break
        value = value[0]
    return dims


def wanted(values: list[Any]) -> list[Any]:
    """A vector's values as `leaves` would give them."""
    return [bytes.fromhex(v["hex"]) if isinstance(v, dict) else float(v) if isinstance(v, str) else v for v in values]


def test_the_vector_is_answered_as_recorded(server: Server, vector: Any) -> None:
    verb = "classify" if vector["kind"] == "classify_request" else "predict"
    if vector["kind"] == "predict_response":
        vector = {**vector, "body": '{"instances": [0]}' if vector["format"] == "row" else '{"inputs": 0}'}
    status, raw = exchange(server, "POST", f"/v1/models/{vector['id']}:{verb}", vector["body"])
    error = vector.get("expect", {}).get("error")
    if error is not None:
        assert status == error["http"], raw
        assert error["message_contains"] in json.loads(raw)["error"]
        return
    assert status == 200, raw
    if vector["kind"] == "predict_response":
        text = vector["expect_json_text"]
        assert raw.decode() == text if text is not None else json.loads(raw) == {"predictions": [{"b64": "a2l3aQ=="}]}
    elif vector["kind"] == "classify_request":
        check_examples(json.loads(raw)["results"], vector["expect"])
    else:
        check_tensors(json.loads(raw), vector["expect"])


def check_tensors(reply: Any, expect: Any) -> None:
    """The echoed tensors have the vector's shapes and values."""
    rows = expect["format"] == "row"
    (echoed,) = (reply[key] for key in ("predictions" if rows else "outputs",))
    for alias, tensor in expect["tensors"].items():
        name = f"{alias}_bytes" if tensor["dtype"] == "string" else alias
        value = echoed
        if len(expect["tensors"]) > 1:
            value = [row[name] for row in echoed] if rows else echoed[name]
        assert shape(value) == tensor["shape"]
        assert repr(leaves(value)) == repr(wanted(tensor["values"]))  # repr: NaN equals itself, -0.0 is not 0.0


def check_examples(results: Any, expect: Any) -> None:
    """The serialized Examples hold the vector's features; a context's come with each."""
    fields = {"bytes": "bytes_list", "int64": "int64_list", "float": "float_list"}
    context = expect["context"] or {}
    assert len(results) == len(expect["examples"])
    for [[label, _]], own in zip(results, expect["examples"], strict=True):
        example = messages.Example.FromString(base64.urlsafe_b64decode(label + "=" * (-len(label) % 4)))
        features = {**context, **own}
        assert set(example.features.feature) == set(features)
        for name, feature in features.items():
            got = example.features.feature[name]
            for kind, values in (feature or {}).items():
                assert list(getattr(got, fields[kind]).value) == (
                    [bytes.fromhex(v) for v in values] if kind == "bytes" else values
                )
            assert feature is not None or got.WhichOneof("kind") is None


def test_the_url_is_read_as_recorded(server: Server, url: Any) -> None:
    expect = url["expect"]
    body = '{"examples": [{"x": 1}], "instances": [1]}' if url["method"] == "POST" else ""
    status, raw = exchange(server, url["method"], url["path"], body)
    if "http" in expect:
        assert status == expect["http"]
        if expect.get("body_is_empty"):
            assert raw == b""
        if "error_contains" in expect and url["method"] != "HEAD":
            assert expect["error_contains"] in json.loads(raw)["error"]
        return
    name, text = expect["model"], json.loads(raw)["error"]  # nobody is called so: the error says what was read
    if "label" in expect:
        assert (status, text) == (400, f"Unrecognized servable version label: {expect['label']}")
        assert unquote(url["path"]).count(name) == 1
    elif "verb" in expect:
        which = f"Specific({name}, {expect['version']})" if "version" in expect else f"Latest({name})"
        assert (status, text) == (404, UNKNOWN + which)
    else:
        which = f"version {expect['version']}" if "version" in expect else "any versions"
        assert (status, text) == (404, f"Could not find {which} of model {name}")
