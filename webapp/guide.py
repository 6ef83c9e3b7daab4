"""For programs: /docs and the description that machines read."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, current_app, render_template, request

from digits.settings import WebSettings
from webapp import openapi, problems
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
        problems=sorted({(one.status, one.title, one.sentence) for one in problems.TABLE.values()}),
        snippets=snippets(request.url_root.rstrip("/"), settings),
        settings=settings,
    )
