"""Questions about models: GetModelMetadata and GetModelStatus, for both transports."""

from __future__ import annotations

from typing import Any

from digits import wire
from serving.resolver import Resolver, fill_spec
from serving.servable import Servable
from serving.status import Code, Status, invalid


class ModelInfo:
    """Answers what a model's signatures are and how its versions are doing."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def metadata(self, request: Any) -> Any:
        """GetModelMetadataRequest → GetModelMetadataResponse.  Raises Status."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for asked in request.metadata_field:
            if asked != "signature_def":
                raise invalid(f"Metadata field {asked} is not supported")
        servable = self._resolver.hold_spec(request)
        try:
            response = wire.GetModelMetadataResponse()
            fill_spec(response.model_spec, servable, "")
            response.metadata["signature_def"].Pack(signature_map(servable))
            return response
        finally:
            servable.release()

    def status(self, request: Any) -> Any:
        """GetModelStatusRequest → GetModelStatusResponse.  Raises Status.  Labels are ignored."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        return self.versions(spec.name, spec.version.value if spec.HasField("version") else None)

    def versions(self, name: str, version: int | None) -> Any:
        """State of every version seen since the start, or of one, highest first.  Raises Status."""
        known = self._resolver.repository.statuses(name)
        if version is not None and version not in known:
            raise Status(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        if not known:
            raise Status(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        response = wire.GetModelStatusResponse()
        for number, (state, status) in known.items():
            if version is None or number == version:
                one = response.model_version_status.add(version=number, state=int(state))
                one.status.SetInParent()
                one.status.error_code = int(status.code)
                one.status.error_message = status.text.encode(errors="surrogateescape").decode(errors="replace")
        return response


def signature_map(servable: Servable) -> Any:
    """Every signature, as a SignatureDefMap."""
    result = wire.SignatureDefMap()
    for name, signature in servable.signatures.items():
        result.signature_def[name].CopyFrom(signature)
    return result
