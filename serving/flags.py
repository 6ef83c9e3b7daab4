"""tensorflow_model_server's command line: one table, its syntax, its complaints.

Only `--name=value` is understood, or a bare `--name` for a boolean; a flag given twice counts the last time; what is unknown is
reported and does not stop the start; a value that does not parse does.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

CPUS: Final = os.cpu_count() or 1
Value = int | float | bool | str
WIDTH, INDENT = 100, 40  # of the help page


@dataclass(frozen=True)
class Flag:
    """One flag.  idle: accepted for compatibility, without effect here."""

    name: str
    default: Value
    help: str
    group: str
    idle: bool = False


PORTS, MODELS, LOADING, BATCHING, ENGINE, SAFETY, OTHER, IDLE = (
    "Where it listens",
    "What it serves",
    "Loading and swapping",
    "Batching",
    "The engine",
    "TLS, health, metrics",
    "Behaviour of the API",
    "Accepted, without effect here",
)

FLAGS: Final = (
    Flag("port", 8500, "TCP port of the gRPC API; 0 = none, but then grpc_socket_path is needed", PORTS),
    Flag("grpc_socket_path", "", "listen for gRPC on this UNIX socket as well", PORTS),
    Flag("rest_api_port", 0, "port of the HTTP/REST API; 0 = none", PORTS),
    Flag("bind_address", "0.0.0.0", "IPv4 address that both ports listen on; not one of upstream's flags", PORTS),
    Flag("grpc_max_threads", 0, "RPCs answered at once before RESOURCE_EXHAUSTED; 0 = 256 (upstream: 4 × CPUs)", PORTS),
    Flag("rest_api_num_threads", 4 * CPUS, "threads that work on REST requests", PORTS),
    Flag("rest_api_timeout_in_ms", 30000, "time a REST request may take in the model; 0 or less = no limit", PORTS),
    Flag("grpc_channel_arguments", "", "comma-separated name=value settings for the gRPC library", PORTS),
    Flag("model_name", "default", "name of the one model to serve (ignored with model_config_file)", MODELS),
    Flag("model_base_path", "", "directory that holds its version directories", MODELS),
    Flag("model_config_file", "", "text ModelServerConfig naming several models, policies and labels", MODELS),
    Flag("model_config_file_poll_wait_seconds", 0, "re-read that file this often; 0 = read it once", MODELS),
    Flag("allow_version_labels_for_unavailable_models", False, "let a new label point at a version not yet loaded", MODELS),
    Flag("saved_model_tags", "serve", "comma-separated tag set of the graph to load", MODELS),
    Flag("file_system_poll_wait_seconds", 1, "look for new versions this often; 0 = once, negative = never", LOADING),
    Flag("max_num_load_retries", 5, "times a failed load is tried again", LOADING),
    Flag("load_retry_interval_micros", 60_000_000, "wait between the tries; negative = none", LOADING),
    Flag("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests before a version serves", LOADING),
    Flag("num_request_iterations_for_warmup", 0, "times each warmup record is run; 0 = once", LOADING),
    Flag("enable_batching", False, "let concurrent requests share runs of the graph", BATCHING),
    Flag("batching_parameters_file", "", "text BatchingParameters; needs enable_batching", BATCHING),
    Flag(
        "enable_per_model_batching_parameters", False, "read batching_params.pbtxt in each version's directory instead", BATCHING
    ),
    Flag("tensorflow_session_parallelism", 0, "sets both of the next two", ENGINE),
    Flag("tensorflow_intra_op_parallelism", 0, "threads of one operation; 0 = 1, and all for long runs", ENGINE),
    Flag("tensorflow_inter_op_parallelism", 0, "operations of one run at once, where runs are long; 0 = as many as CPUs", ENGINE),
    Flag(
        "tensorflow_session_config_file",
        "",
        "text ConfigProto, its CPU part; the thread flags override it",
        ENGINE,
    ),
    Flag("ssl_config_file", "", "text SSLConfig: TLS for gRPC (REST has none)", SAFETY),
    Flag("enable_grpc_healthcheck_service", False, "answer grpc.health.v1.Health", SAFETY),
    Flag("monitoring_config_file", "", "text MonitoringConfig: Prometheus on the REST port", SAFETY),
    Flag("rest_api_enable_cors_support", False, "send CORS headers", SAFETY),
    Flag("enable_signature_method_name_check", False, "refuse signatures whose method_name is of another call", OTHER),
    Flag("enable_serialization_as_tensor_content", False, "answer Predict with tensor_content instead of *_val fields", OTHER),
    Flag("version", False, "print versions and exit", OTHER),
    Flag("num_load_threads", 0, "", IDLE, idle=True),
    Flag("num_unload_threads", 0, "", IDLE, idle=True),
    Flag("flush_filesystem_caches", True, "", IDLE, idle=True),
    Flag("remove_unused_fields_from_bundle_metagraph", True, "", IDLE, idle=True),
    Flag("enable_profiler", True, "", IDLE, idle=True),
    Flag("use_alts_credentials", False, "", IDLE, idle=True),
    Flag("platform_config_file", "", "", IDLE, idle=True),
    Flag("thread_pool_factory_config_file", "", "", IDLE, idle=True),
    Flag("per_process_gpu_memory_fraction", 0.0, "", IDLE, idle=True),
    Flag("prefer_tflite_model", False, "", IDLE, idle=True),
    Flag("num_tflite_pools", CPUS, "", IDLE, idle=True),
    Flag("num_tflite_interpreters_per_pool", 1, "", IDLE, idle=True),
    Flag("xla_cpu_compilation_enabled", False, "", IDLE, idle=True),
    Flag("xla_gpu_compilation_enabled", False, "", IDLE, idle=True),
    Flag("mixed_precision", "", "", IDLE, idle=True),
    Flag("skip_initialize_tpu", False, "", IDLE, idle=True),
    Flag("mlrt_max_runtime_initializations", 0, "", IDLE, idle=True),
    Flag("enable_cors_support", False, "", IDLE, idle=True),
    Flag("use_tflite_model", False, "", IDLE, idle=True),
    Flag("force_allow_any_version_labels_for_unavailable_models", False, "", IDLE, idle=True),
)
_BY_NAME: Final = {flag.name: flag for flag in FLAGS}


class BadValue(Exception):
    """A known flag has a value that does not parse; the text is upstream's."""


@dataclass(frozen=True)
class Parsed:
    """The values by flag name, what was not understood, and which idle flags were set."""

    values: dict[str, Any]
    unknown: list[str]
    idle: list[str]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


def parse(arguments: Sequence[str]) -> Parsed:
    """Read a command line.  Raises BadValue."""
    values: dict[str, Value] = {flag.name: flag.default for flag in FLAGS}
    unknown, idle = [], []
    for argument in arguments:
        name, separator, text = argument.removeprefix("--").partition("=")
        flag = _BY_NAME.get(name) if argument.startswith("--") else None
        if flag is None or not (separator or isinstance(flag.default, bool)):
            unknown.append(argument)
            continue
        values[name] = _value(flag, text if separator else "true")
        if flag.idle:
            idle.append(name)
    return Parsed(values, unknown, idle)


def _value(flag: Flag, text: str) -> Value:
    refused = BadValue(f"Couldn't interpret value {text} for flag {flag.name}.")
    if isinstance(flag.default, bool):
        word = text.lower()
        if word not in ("true", "false", "1", "0"):
            raise refused
        return word in ("true", "1")
    if isinstance(flag.default, int):
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,4000}", text, re.ASCII):
            raise refused
        bits = 64 if flag.name.endswith("_micros") else 32
        wrap: int = 2**bits  # upstream's parser wraps round silently
        return (int(text) + wrap // 2) % wrap - wrap // 2
    if isinstance(flag.default, float):
        try:
            return float(text)
        except ValueError:
            raise refused from None
    return text


def usage(program: str | None = None) -> str:
    """Return the help page."""
    out = [f"usage: {program or sys.argv[0]} --name=value ...", ""]
    out += textwrap.wrap(
        "Serves SavedModels over TensorFlow Serving's gRPC and REST API. It understands tensorflow_model_server's flags, "
        "written --name=value (a boolean may stand alone), and answers as that server does.",
        WIDTH,
    )
    out += ["", "Our own model on the usual ports, sharing runs between concurrent requests:", ""]
    out += ["  python -m serving --rest_api_port=8501 --enable_batching \\"]
    out += ["      --model_name=digits --model_base_path=$PWD/models/digits"]
    for group in dict.fromkeys(flag.group for flag in FLAGS):
        out += ["", f"{group}:"]
        listed = [flag for flag in FLAGS if flag.group == group]
        if group == IDLE:
            out += textwrap.wrap(", ".join(flag.name for flag in listed), WIDTH, initial_indent="  ", subsequent_indent="  ")
            continue
        for flag in listed:
            name = f"  --{flag.name}"
            lines = textwrap.wrap(f"{flag.help} [{_shown(flag.default)}]", WIDTH - INDENT)
            if len(name) < INDENT:
                lines[0] = name.ljust(INDENT) + lines[0]
            else:
                out.append(name)
                lines[0] = " " * INDENT + lines[0]
            out += [lines[0], *(" " * INDENT + line for line in lines[1:])]
    return "\n".join(out) + "\n"


def _shown(default: Value) -> str:
    return str(default).lower() if isinstance(default, bool) else f"{default}" or '""'
