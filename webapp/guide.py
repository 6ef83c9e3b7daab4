"""For programs: /docs and the description that machines read."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, render_template, request

from digits.settings import WebSettings
from webapp import openapi, problems
from webapp.inputs import MAX_ITEMS, MAX_TENSORS
from webapp.snippets import snippets

blueprint = Blueprint("guide", __name__)


@blueprint.get("/openapi.json")
def description() -> dict[str, Any]:
    """OpenAPI 3.1."""
    settings: WebSettings = current_app.extensions["settings"]
    return openapi.document(settings)


@blueprint.get("/docs")
def docs() -> str:
    """The same for people, with examples to copy."""
    settings: WebSettings = current_app.extensions["settings"]
    return render_template(
        "docs.html",
        problems=[(problems.name_of(one), one) for one in problems.everything()],
        snippets=snippets(request.url_root.rstrip("/"), settings),
        settings=settings,
        max_items=MAX_ITEMS,
        max_tensors=MAX_TENSORS,
    )


@blueprint.get("/problems/<name>")
def problem(name: str) -> Response:
    """Where a problem's `type` leads: to what is said about it."""
    if name not in {problems.name_of(one) for one in problems.everything()}:
        abort(404)
    return Response(status=303, headers={"Location": f"/docs#{name}"})
