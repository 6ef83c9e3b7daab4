"""The model configuration: checking it, labels, reloading it by RPC or from its file."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving import messages, text_config
from serving.metrics import Metrics
from serving.resolver import Resolver
from serving.status import Code, Status, invalid
from serving.versions import ModelSource

log = logging.getLogger(__name__)

PLATFORM, TENSORFLOW = "tensorflow", 1
ABSOLUTE = re.compile(r"/|[A-Za-z][0-9A-Za-z.]+://")
"""A path, or a URI as TensorFlow's file systems tell one."""
LIST = "model_config_list"
Labels = dict[tuple[str, str], int]


class Configuration:
    """Holds the ModelServerConfig in force and replaces it, in upstream's steps.

    A config that fails a check is refused there, and what the steps before it did remains: models taken out of the list have
    lost their labels, a platform that was asked for is remembered.  The models that are served change only if all fit.
    """

    def __init__(self, resolver: Resolver, metrics: Metrics, labels_in_advance: bool) -> None:
        self._resolver, self._repository, self._metrics = resolver, resolver.repository, metrics
        self._labels_in_advance = labels_in_advance
        self._asked: dict[str, Any] = {}  # models of the last config that was not refused at once, by name
        self._serving: set[str] = set()
        self._in_force = messages.ModelServerConfig()
        self._lock = threading.Lock()

    def apply(self, config: Any, at_start: bool = False) -> None:
        """Put a ModelServerConfig in force and wait until its new models are available or have failed.  Raises Status."""
        with self._lock:
            if config.WhichOneof("config") != LIST and self._in_force.WhichOneof("config") == LIST:
                raise Status(
                    Code.FAILED_PRECONDITION,
                    "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another.",
                )
            models = list(config.model_config_list.config)
            _check_list(models)
            for model in models:
                self._check_platform(model)
            self._asked = {model.name: model for model in models}
            self._resolver.labels = self._labels(models)
            for model in models:
                if _platform(model) != PLATFORM:
                    raise invalid(f"Model {model.name} requests unsupported platform {_platform(model)}")
            new = [model.name for model in models if model.name not in self._serving]
            self._in_force, self._serving = config, set(self._asked)
            self._metrics.models = self._serving
            self._repository.set_sources(
                ModelSource(
                    m.name,
                    Path(m.base_path.removeprefix("file://")),
                    m.model_version_policy if m.HasField("model_version_policy") else None,
                )
                for m in models
            )
            failed = self._repository.wait_until_decided(new)
        if failed:
            what = "servable" if at_start else "model"
            why = "".join(
                f"{{{{name: {name} version: {version}}} due to error: {status}}}, "
                for name, (version, status) in sorted(failed.items())
            )
            raise Status(Code.UNKNOWN, f"{len(failed)} {what}(s) did not become available: {{{why}}}")
        if any(model.HasField("logging_config") for model in models):
            raise invalid("No request-logger-creator provided.")

    def _check_platform(self, model: Any) -> None:
        """A model that was in the last config keeps its platform."""
        try:
            old = _platform(self._asked[model.name])
        except (KeyError, Status):  # new, or not told the last time: upstream then refuses every later config until a restart
            return
        if old != _platform(model):
            raise invalid(
                f"Illegal to change a model's platform. For model {model.name} platform was {old} and new "
                f"platform requested is {_platform(model)}"
            )

    def _labels(self, models: Sequence[Any]) -> Labels:
        """Build the new label map.  Raises Status for a label on a version that cannot be asked."""
        labels: Labels = {}
        for model in models:
            for label, version in model.version_labels.items():
                now = self._resolver.labels.get((model.name, label))
                unavailable = not self._repository.is_available(model.name, version)
                if unavailable and not (self._labels_in_advance and now in (None, version)):
                    raise Status(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, which is not currently "
                        "available for inference",
                    )
                labels[model.name, label] = version
        return labels

    def reload(self, request: Any) -> Any:
        """ReloadConfigRequest → ReloadConfigResponse.  Raises Status."""
        if request.config.WhichOneof("config") != LIST:
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
            )
        before = {name: self._metrics.total(name) for name in request.metric_names}
        self.apply(request.config)
        response = messages.ReloadConfigResponse()
        response.status.SetInParent()
        for name, count in before.items():
            response.metric.add(name=name, int64_value_increase=self._metrics.total(name) - count)
        return response

    def watch(self, path: str, period_s: float, stop: threading.Event) -> None:
        """Re-read the file every `period_s` until told to stop; a bad file leaves the config as it is.

        What is refused now, such as a label whose version is still loading, may be taken the next time.
        """
        while not stop.wait(period_s):
            try:
                config = text_config.read(path, messages.ModelServerConfig)
                if config != self._in_force:
                    self.apply(config)
                    log.info("%s was read again and is in force", path)
            except Status as status:
                log.error("%s was not taken: %s", path, status)


def _check_list(models: Sequence[Any]) -> None:
    """Names are unique and base paths absolute."""
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models:
        if not ABSOLUTE.match(model.base_path) or "\0" in model.base_path:
            raise invalid(f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}")


def _platform(model: Any) -> str:
    """The platform asked for.  Raises Status where it is told twice or not at all."""
    typed, platformed = model.model_type != 0, bool(model.model_platform)
    if typed == platformed:
        both, joint = ("both", "and") if typed else ("neither", "nor")
        raise invalid(
            f"Illegal setting {both} ModelServerConfig::model_type (deprecated) {joint} ModelServerConfig::model_platform, "
            f"model name is {model.name}"
        )
    if typed and model.model_type != TENSORFLOW:
        raise invalid(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    return str(model.model_platform) or PLATFORM
