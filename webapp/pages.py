"""The pages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, redirect, render_template, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from digits.errors import DigitsError
from digits.settings import WebSettings
from webapp import architecture, assets, charts, markdown, problems
from webapp.backend import Backend
from webapp.examples import examples
from webapp.protoset import protoset

blueprint = Blueprint("pages", __name__)
blueprint.register_blueprint(assets.blueprint)


@blueprint.get("/")
def index() -> str:
    """The drawing page."""
    settings: WebSettings = current_app.extensions["settings"]
    return render_template("index.html", examples=examples(), model_target=settings.model_target)


@blueprint.get("/about")
def about() -> tuple[str, int]:
    """What the model says of itself: drawn from the card of the version that answers."""
    backend: Backend = current_app.extensions["backend"]
    try:
        version = backend.usable()
    except DigitsError:
        return render_template("about.html", version=None), 503
    figures, layers = version.card.get("figures", {}), architecture.layers(version.card)
    return render_template(
        "about.html",
        version=version,
        card=version.card,
        figures=figures,
        layers=layers,
        blocks=architecture.blocks(layers),
        charts=charts.learning(figures.get("learning", [])),
        confusion=charts.confusion(figures.get("confusion", [])),
        sections=markdown.sections(version.model_card),
    ), 200


@blueprint.get("/serving.protoset")
def serving_protoset() -> Response:
    """The model server's API for grpcurl."""
    response = Response(protoset(), mimetype="application/octet-stream")
    response.headers["Cache-Control"] = assets.BRIEFLY
    return response


@blueprint.get("/sw.js")
def service_worker() -> Response:
    """The service worker: at the root, because it may only look after what lies below it."""
    response = Response(render_template("sw.js", kept=assets.kept_offline()), mimetype="text/javascript")
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    """The icon where programs look for one that read no HTML."""
    return assets.respond("icon-192.png", assets.BRIEFLY)


@blueprint.get("/manifest.webmanifest")
def manifest() -> Response:
    """What makes the page installable."""
    return Response(render_template("manifest.webmanifest"), mimetype="application/manifest+json")


@blueprint.get("/about/")
@blueprint.get("/docs/")
def without_slash() -> AnyResponse:
    """A page's address as people may type it."""
    return redirect(request.path.rstrip("/"), 308)


@blueprint.app_errorhandler(404)
def nowhere(_: NotFound) -> Response:
    """A page for people who mistyped an address; for programs a problem, like every error."""
    told = problems.respond(problems.NOT_FOUND, f"got {request.method} {request.path[:100]}")
    if request.method in ("GET", "HEAD") and not request.path.startswith("/api/"):
        told.vary.add("Accept")
        if request.accept_mimetypes.best_match((problems.MIMETYPE, "application/json", "text/html")) == "text/html":
            told.set_data(render_template("nowhere.html"))
            told.mimetype = "text/html"
    return told


@blueprint.app_context_processor
def for_templates() -> dict[str, Any]:
    """What every template may use."""
    return {"asset": assets.address, "release": assets.release(), "here": request.path, "origin": request.url_root.rstrip("/")}
