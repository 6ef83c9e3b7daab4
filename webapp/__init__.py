"""The gateway: a picture from a person in, the digit in words and numbers out.

It turns the picture into the wire's tensor, forwards it by gRPC and explains the answer.  It never
loads TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from digits.settings import WebSettings, read

if TYPE_CHECKING:
    from flask import Flask


def create_app(settings: WebSettings | None = None, backend: Any = None) -> Flask:
    """Make the application; settings come from the environment unless given.

    backend: the seam for faults in tests; otherwise a channel to settings.model_target, made here,
    that is, after gunicorn has forked.
    """
    # Not at the top: webapp.gunicorn_conf must set the environment before prometheus_client is imported.
    from flask import Flask

    from webapp import api, cors, guide, health, pages, problems, protection, records
    from webapp.backend import Backend
    from webapp.metrics import Metrics
    from webapp.reading import Reader

    settings = settings or read(WebSettings)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    metrics = Metrics()
    app.extensions["settings"] = settings
    app.extensions["metrics"] = metrics
    app.extensions["records"] = records.Records(metrics, settings.access_log)
    app.extensions["backend"] = backend = backend or Backend(settings, metrics=metrics)
    app.extensions["reader"] = Reader(settings, backend, metrics, app.extensions["records"])
    for blueprint in (api.blueprint, guide.blueprint, health.blueprint, pages.blueprint):
        app.register_blueprint(blueprint)
    problems.register(app)
    records.register(app)
    cors.register(app, settings.cors_origins)
    protection.register(app)
    return app
