"""Predict: named tensors in, named tensors out; the checks in upstream's order and words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from serving import messages, tensor_wire
from serving.servable import Servable
from serving.status import Code, Status, invalid
from serving.tensors import RESOURCE, VARIANT, Tensor, type_name

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")
RESOURCE_REFUSED = (
    "Invalid resource type hash code: {}. Perhaps a resource tensor was being provided as a feed? That is not "
    "currently allowed. Please file an issue at https://github.com/tensorflow/tensorflow/issues/new, ideally with a short code "
    "snippet that leads to this error message."
)


@dataclass(frozen=True)
class Call:
    """A request that passed every check: what to feed, what to fetch, under which aliases."""

    feeds: dict[str, Tensor]
    aliases: list[str]
    fetches: list[str]
    types: dict[str, int]
    """The dtypes of what may be fed."""


def signature_of(servable: Servable, name: str, check_method: bool) -> Any:
    """Return the SignatureDef that gRPC Predict would use."""
    signature = servable.signatures.get(name)
    if signature is None:
        raise Status(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    check_predict_method(signature, check_method)
    return signature


def check_predict_method(signature: Any, check_method: bool) -> None:
    """With --enable_signature_method_name_check, refuse signatures that are not for serving."""
    if check_method and signature.method_name not in PREDICT_METHODS:
        wanted = ", ".join(PREDICT_METHODS)
        raise Status(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{wanted}}}. Was: {signature.method_name}",
        )


def plan(signature: Any, inputs: Mapping[str, Any], output_filter: Collection[str]) -> Call:
    """Check a gRPC request's inputs (digits.fast.Tensor by alias) against the signature."""
    wanted, defaults = signature.inputs, signature.defaults
    _check_sizes(signature, inputs)
    used = []
    tensors: dict[str, Tensor] = {}
    for alias in sorted(wanted):
        if alias in inputs:
            used.append(alias)
            tensors[alias] = _tensor(alias, inputs[alias])
        elif alias in defaults:
            tensors[alias] = _tensor(alias, _fast(defaults[alias]))
        else:
            feed = wanted[alias].name
            raise invalid(
                f"Signature input alias: {alias}(feed name: {feed}) not found in request and no default value provided. "
                f"Inputs expected to be in the request {{{','.join(sorted(inputs))}}}, or default input alias set: "
                f"{','.join(sorted(defaults))}"
            )
    if len(used) != len(inputs):
        sent = ",".join(sorted(inputs))
        raise invalid(f"Inputs contains invalid name. Used request inputs: {','.join(used)}, request input: {sent}")
    return _call(signature, tensors, output_filter)


def _call(signature: Any, tensors: Mapping[str, Tensor], output_filter: Collection[str]) -> Call:
    aliases, fetches = _fetches(signature, output_filter)
    feeds: dict[str, Tensor] = {}
    for alias, tensor in tensors.items():
        feed = signature.inputs[alias].name
        if feed in feeds:
            raise invalid(f'Endpoint "{feed}" fed more than once.')
        feeds[feed] = tensor
    return Call(feeds, aliases, fetches, {info.name: info.dtype for info in signature.inputs.values()})


def refuse_handles(feeds: Mapping[str, Tensor], wanted: Mapping[str, int]) -> None:
    """Refuse resources and variants as the session does, which has no way to be given one here.

    wanted: the dtypes of the signature's inputs by the tensor that they feed.
    """
    for tensor in feeds.values():
        if tensor.dtype == RESOURCE:
            raise invalid(RESOURCE_REFUSED.format(tensor.array.item()))
    if all(tensor.dtype != VARIANT for tensor in feeds.values()):
        return
    for at, name in enumerate(sorted(feeds)):  # the session's order; the first that does not fit is told
        if feeds[name].dtype != wanted[name]:
            raise invalid(f"Expects arg[{at}] to be {type_name(wanted[name])} but {type_name(feeds[name].dtype)} is provided")


def _check_sizes(signature: Any, inputs: Mapping[str, Any]) -> None:
    wanted = signature.inputs
    if len(inputs) == len(wanted) or (len(inputs) < len(wanted) and signature.defaults):
        return
    got, want = sorted(inputs), sorted(wanted)
    extra = ",".join(name for name in got if name not in wanted)
    missing = ",".join(name for name in want if name not in inputs)
    raise invalid(
        f"input size does not match signature: {len(got)}!={len(want)} len({{{','.join(got)}}}) != len({{{','.join(want)}}}). "
        f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
    )


def _fast(proto: Any) -> Any:
    return messages.FastTensor.FromString(proto.SerializeToString())


def _tensor(alias: str, proto: Any) -> Tensor:
    try:
        return tensor_wire.read(proto)
    except tensor_wire.Unreadable:
        raise invalid(f"tensor parsing error: {alias}") from None


def _fetches(signature: Any, output_filter: Collection[str]) -> tuple[list[str], list[str]]:
    """Aliases and tensor names to fetch; an empty filter means all."""
    outputs = signature.outputs
    aliases: list[str] = []
    for alias in output_filter:
        if alias not in outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{','.join(sorted(outputs))}}}."
            )
        if alias in aliases:
            raise invalid(f"duplicate output tensor alias: {alias}")
        aliases.append(alias)
    aliases = aliases or list(outputs)
    return aliases, [outputs[alias].name for alias in aliases]


def plan_tensors(signature: Any, tensors: Mapping[str, Tensor]) -> Call:
    """A REST request's tensors, already checked by alias; REST knows no output_filter."""
    _check_sizes(signature, tensors)
    return _call(signature, tensors, ())
