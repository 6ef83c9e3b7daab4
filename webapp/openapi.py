"""The API's description, OpenAPI 3.1, made from the tables that the code itself uses."""

from __future__ import annotations

from typing import Any

import digits
from digits import contract as c
from digits import errors
from digits.settings import WebSettings
from webapp import problems
from webapp.inputs import MAX_ITEMS, MAX_TENSORS
from webapp.oddities import Oddity

_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif")
_REQUEST_ID = {"X-Request-Id": {"description": "the caller's own, or a new one", "schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait, where asking again may help", "schema": {"type": "integer"}}}


def document(settings: WebSettings) -> dict[str, Any]:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "digits", "version": digits.__version__, "description": "Reads handwritten digits."},
        "paths": {
            "/api/predict": {"post": _predict(settings)},
            "/api/model": {"get": _get("What is being served: versions, signatures, card and figures", "Model", (503,))},
            "/livez": {"get": _get("The process answers", "Status")},
            "/readyz": {"get": _get("A drawing would be answered", "Status", also_503="Status")},
            "/openapi.json": {"get": _get("This document", "Anything")},
        },
        "components": {"schemas": _schemas()},
    }


def _predict(settings: WebSettings) -> dict[str, Any]:
    image = {"type": "string", "description": "a data URL, or base64"}
    file = {"type": "string", "format": "binary"}
    several = {"type": "array", "items": file, "minItems": 1, "maxItems": MAX_ITEMS}
    form = {
        "type": "object",
        "properties": {"image": {"oneOf": [file, several]}, "images": several},
        "oneOf": [{"required": ["image"]}, {"required": ["images"]}],
    }
    one = {"type": "object", "properties": {"image": image}, "required": ["image"]}
    listed = {"description": "like `image`, or an object with one; whatever else is there gets an error in its place"}
    images = {"type": "array", "items": listed, "minItems": 1, "maxItems": MAX_ITEMS}
    many = {"type": "object", "properties": {"images": images}, "required": ["images"]}
    binary: dict[str, Any] = {}
    by_status: dict[int, list[problems.Problem]] = {}
    for problem in problems.everything():
        if problem not in (*problems.NO_VIEW, problems.TABLE[errors.DataUnavailable]):
            by_status.setdefault(problem.status, []).append(problem)
    return {
        "summary": "Read the digit in each picture",
        "description": f"What the bytes are counts more than Content-Type. Bodies are at most {settings.max_body_bytes:,} bytes, "
        f"pictures at most {settings.max_pixels:,} pixels; tensors are uint8 [N, 28, 28], N at most {MAX_TENSORS:,}.",
        "parameters": [
            _parameter("top", {"type": "integer", "minimum": 1, "maximum": c.CLASSES}, "list so many of the best digits"),
            _parameter("version", {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "ask this version of the model"),
            _parameter("label", {"type": "string", "minLength": 1, "maxLength": 64}, "ask the version with this label"),
        ],
        "requestBody": {
            "required": True,
            "content": {
                **{kind: {"schema": binary} for kind in _IMAGES},
                "application/json": {"schema": {"oneOf": [one, many, images]}},
                "multipart/form-data": {"schema": form},
                "application/octet-stream": {
                    "schema": {**binary, "description": f"uint8 [N, {c.IMAGE_PX}, {c.IMAGE_PX}], or .npy"}
                },
            },
        },
        "responses": {
            "200": _json("The answer", {"oneOf": [_ref("Answer"), _ref("Answers")]}),
            **{str(status): _problem(*by_status[status]) for status in by_status},
        },
    }


def _get(summary: str, schema: str, statuses: tuple[int, ...] = (), also_503: str = "") -> dict[str, Any]:
    responses = {
        "200": _json(summary, _ref(schema)),
        **{str(status): _problem(problems.TABLE[errors.ModelUnavailable]) for status in statuses},
    }
    if also_503:
        responses["503"] = _json("Not now", _ref(also_503))
    return {"summary": summary, "responses": responses}


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "headers": _REQUEST_ID, "content": {"application/json": {"schema": schema}}}


def _problem(*alike: problems.Problem) -> dict[str, Any]:
    """Problems of one status."""
    description = " · ".join(one.title for one in alike)
    headers = {**_REQUEST_ID, **(_RETRY_AFTER if any(one.retry_after_s for one in alike) else {})}
    return {"description": description, "headers": headers, "content": {"application/problem+json": {"schema": _ref("Problem")}}}


def _schemas() -> dict[str, Any]:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    digit = {"type": "integer", "minimum": 0, "maximum": c.CLASSES - 1}
    ranked = _object({"digit": digit, "confidence": share})
    result = {
        "digit": digit,
        "confidence": share,
        "sure": {"type": "boolean", "description": "above the model's threshold, and nothing odd about the drawing"},
        "second": ranked,
        "probabilities": {"type": "array", "items": share, "minItems": c.CLASSES, "maxItems": c.CLASSES},
        "sentence": {"type": "string"},
        "image": {"type": "string", "description": "data URL of the 28×28 that the model saw"},
    }
    optional = {"note": {"enum": [odd.name.lower() for odd in Oddity]}, "top": {"type": "array", "items": ranked}}
    common = {
        "model": _object({"name": {"type": "string"}, "version": {"type": "integer"}}),
        "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
        "request_id": {"type": "string"},
    }
    item = {"oneOf": [_object(result, optional), _object({"error": _ref("Problem")})]}
    return {
        "Answer": _object({**result, **common}, optional),
        "Answers": _object(
            {"results": {"type": "array", "items": item}, "timing_ms": common["timing_ms"], "request_id": common["request_id"]},
            {"model": common["model"]},
        ),
        "Problem": _object({
            "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
            "detail": {"type": "string"}, "sentence": {"type": "string"}, "request_id": {"type": "string"},
        }),
        "Model": _object({
            "name": {"type": "string"}, "version": {"type": "integer"}, "versions": {"type": "array"},
            "labels": {"type": "object"}, "refused": {"type": "object", "description": "why, by version"},
            "signatures": {"type": "object"}, "figures": {"type": "object"}, "card": {"type": "object"},
            "model_card": {"type": "string", "description": "Markdown"},
        }),
        "Status": {"type": "object", "required": ["status"]},
        "Anything": {"type": "object"},
    }  # fmt: skip


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
