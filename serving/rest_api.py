"""The REST API: what each URL does with a body; it converts and nothing more."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format

from digits import wire
from serving import json_reader, messages, predict, rest_examples, rest_replies, rest_tensors
from serving.core import Core, unforeseen
from serving.examples import ClassificationTask, RegressionTask
from serving.http_replies import Reply, failure, page
from serving.json_writer import dump
from serving.metrics import Metrics
from serving.model_info import ModelInfo, signature_map
from serving.planner import Work
from serving.resolver import fill_spec
from serving.rest_urls import INFERENCE, QUESTION, matched_path, which
from serving.servable import Servable
from serving.status import Code, Status, invalid
from serving.tensors import DOUBLE, Tensor

MAX_INFLATED = 100 * 2**20
METRICS_PATH = "/monitoring/prometheus/metrics"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}

Found = tuple[str, int | None, str | None]
"""Name, version and label of a model, as the URL has them."""
Answer = Callable[[Any], None]
Send = Callable[[Reply], None]


class RestApi:
    """Answers one request at a time from any thread; `send` is called exactly once."""

    def __init__(
        self, core: Core, info: ModelInfo, metrics: Metrics, timeout_s: float | None, cors: bool, metrics_path: str | None
    ) -> None:
        self._core, self._info, self._metrics = core, info, metrics
        self._timeout_s, self._cors, self._metrics_path = timeout_s, cors, metrics_path

    def handle(self, method: str, target: bytes, headers: Mapping[str, str], body: bytes, send: Send) -> None:
        """target: the request line's, as sent.  headers: lower-case names."""
        path = matched_path(target)
        if path is None:
            send(page(400))
        elif method not in METHODS:
            send(page(501))
        elif self._metrics_path is not None and re.split("[?#]", path, maxsplit=1)[0] == self._metrics_path:
            send(self._monitoring(path))
        elif not path.startswith(("/v1/", "/V1/")):
            send(page(404))
        elif method == "OPTIONS":
            origin = headers.get("origin", "")
            allowed = "http://" in origin or "https://" in origin
            self._finish(send, Reply(200 if allowed else 400, b"", "text/html; charset=ISO-8859-1"))
        else:
            self._dispatch(method, path, headers, body, send)

    def _monitoring(self, path: str) -> Reply:
        if path != self._metrics_path:
            text = f"Unexpected path: {path}. Should be {self._metrics_path}"
            return Reply(400, text.encode(), "text/plain")
        return Reply(200, self._metrics.page().encode(errors="surrogateescape"), "text/plain")

    def _finish(self, send: Send, reply: Reply) -> None:
        if self._cors:
            reply.headers.update(CORS)
        send(reply)

    def _dispatch(self, method: str, path: str, headers: Mapping[str, str], body: bytes, send: Send) -> None:
        began = time.perf_counter()
        name = ""
        api = ""

        def answer(result: Reply | Status) -> None:
            code = result.code if isinstance(result, Status) else Code.OK
            self._metrics.request(name, api, "REST", code, time.perf_counter() - began)
            self._finish(send, failure(result) if isinstance(result, Status) else result)

        try:
            if method == "POST" and (found := INFERENCE.fullmatch(path)):
                name, version, label = which(found)
                if not found[4].islower():
                    raise invalid(f"Malformed request: {method} {path}")
                api = found[4]
                data = _inflated(body, headers.get("content-encoding", ""))
                run = {"predict": self._predict, "classify": self._classify}.get(api, self._regress)
                run((name, version, label), data, answer)
            elif method == "GET" and (found := QUESTION.fullmatch(path)):
                metadata = found[4] == "/metadata"
                name, version, label = which(found)
                if found[1] is None:
                    raise invalid("Missing model name in request.")
                answer(self._metadata(name, version, label) if metadata else self._status(name, version))
            else:
                raise invalid(f"Malformed request: {method} {path}")
        except Status as status:
            answer(status)
        except Exception as exc:
            answer(unforeseen(exc))

    # -- inference --------------------------------------------------------------------------------

    def _predict(self, found: Found, body: bytes, answer: Answer) -> None:
        document = _document(body)
        wanted = _signature_name(document)

        def plan(servable: Servable) -> Work:
            name = wanted or predict.DEFAULT_SIGNATURE
            signature = servable.signatures.get(name)
            if signature is None:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            doubles = any(info.dtype == DOUBLE for info in signature.inputs.values())
            given = json_reader.read_exactly(body, document) if doubles else document
            tensors, rows = rest_tensors.read(given, signature.inputs, wanted)
            predict.check_predict_method(signature, self._core.planner.check_methods)
            call = predict.plan_tensors(signature, tensors)

            def reply(outputs: list[Tensor]) -> Reply:
                named = dict(zip(call.aliases, outputs, strict=True))
                return Reply(200, rest_replies.predictions(named, rows))

            return Work(call.feeds, call.fetches, reply)

        self._core.serve(lambda: self._core.resolver.hold(*found), plan, self._deadline(), "Predict", answer)

    def _classify(self, found: Found, body: bytes, answer: Answer) -> None:
        self._examples(found, body, answer, "Classify", ClassificationTask, rest_replies.classifications)

    def _regress(self, found: Found, body: bytes, answer: Answer) -> None:
        self._examples(found, body, answer, "Regress", RegressionTask, rest_replies.regressions)

    def _examples(
        self, found: Found, body: bytes, answer: Answer, api: str,
        kind: type[ClassificationTask] | type[RegressionTask], write: Callable[[Any], bytes],
    ) -> None:  # fmt: skip
        document = _document(body)
        wanted = _signature_name(document) or predict.DEFAULT_SIGNATURE
        given = messages.Input()
        rest_examples.fill(document, given)

        def plan(servable: Servable) -> Work:
            return self._core.planner.evaluation(servable, wanted, given, kind, lambda _, results: Reply(200, write(results)))

        self._core.serve(lambda: self._core.resolver.hold(*found), plan, self._deadline(), api, answer)

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    # -- questions --------------------------------------------------------------------------------

    def _status(self, name: str, version: int | None) -> Reply:
        return Reply(200, _proto_json(self._info.versions(name, version), 1) + b"\n")

    def _metadata(self, name: str, version: int | None, label: str | None) -> Reply:
        servable = self._core.resolver.hold(name, version, label)
        try:
            spec = wire.ModelSpec()
            fill_spec(spec, servable, "")
            signatures = _proto_json(signature_map(servable), 1)
        finally:
            servable.release()
        body = b'{\n"model_spec":' + _proto_json(spec, 1) + b'\n,\n"metadata": {"signature_def": ' + signatures + b"\n}\n}\n"
        return Reply(200, body)


def _inflated(body: bytes, encoding: str) -> bytes:
    """Undo gzip; what is not one whole member and nothing more, or passes the limit, counts as an empty body."""
    if "gzip" not in encoding:
        return body
    inflater = zlib.decompressobj(wbits=31)
    try:
        data = inflater.decompress(body, MAX_INFLATED + 1)
    except zlib.error:
        return b""
    return data if inflater.eof and not inflater.unused_data and len(data) <= MAX_INFLATED else b""


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json_reader.read(body)
    except json_reader.BadJson as bad:
        raise invalid(f"JSON Parse error: {bad}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {dump(document)} Is not object")
    return document


def _signature_name(document: Mapping[str, Any]) -> str:
    value = document.get("signature_name", b"")
    if not isinstance(value, bytes):
        raise invalid(f"JSON Value: {dump(document)} not formatted correctly. 'signature_name' key must be a string value.")
    return value.decode("utf-8", "surrogateescape")


def _proto_json(message: Any, indent: int) -> bytes:
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=indent,
        descriptor_pool=wire.pool, ensure_ascii=False,
    ).encode()  # fmt: skip
