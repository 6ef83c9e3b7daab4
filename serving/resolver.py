"""Which version a request means: names, numbers and labels → a servable to hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.repository import Repository
from serving.servable import Servable
from serving.status import Code, Status, invalid


class Resolver:
    """Finds servables.  labels: (model, label) → version, replaced whole by the configuration."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.labels: Mapping[tuple[str, str], int] = {}

    def hold(self, name: str, version: int | None, label: str | None) -> Servable:
        """Hold the version asked for, or the latest; release() it afterwards.  Raises Status."""
        if not name:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            version = self.labels.get((name, label))
            if version is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        servable = self.repository.find(name, version)
        if servable is None:
            which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Status(Code.NOT_FOUND, f"Servable not found for request: {which}")
        return servable

    def hold_spec(self, request: Any) -> Servable:
        """Hold what a request's model_spec asks for.  Raises Status."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        return self.hold(*spec_parts(request.model_spec))


def spec_parts(spec: Any) -> tuple[str, int | None, str | None]:
    """Name, version and label of a ModelSpec."""
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def fill_spec(spec: Any, servable: Servable, signature_name: str) -> None:
    """Say in a response which version answered."""
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name
