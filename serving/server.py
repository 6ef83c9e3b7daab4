"""Puts the parts together: repository, core, transports, and their orderly end."""

from __future__ import annotations

import logging
import re
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving import messages, text_config
from serving.batching import BatchPool
from serving.batching_options import BatchingOptions
from serving.configuration import Configuration
from serving.core import Core
from serving.engine import Engine, EngineOptions
from serving.flags import CPUS, Parsed
from serving.grpc_api import handlers
from serving.grpc_calls import GrpcServer, credentials
from serving.metrics import Metrics
from serving.model_info import ModelInfo
from serving.planner import Planner
from serving.repository import Repository
from serving.resolver import Resolver
from serving.runners import BatchingRunner, DirectRunner, Slots
from serving.servable import Runner, Servable
from serving.status import Code, Status, invalid
from serving.warmup import warm_up

if TYPE_CHECKING:
    from grpc import ServerCredentials

log = logging.getLogger(__name__)

MAX_CALLS = 256
RUNS_PER_CPU = 2  # unbatched; a second one keeps the core busy while the first is being answered
GRACE_S = 4.0
SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")


class ModelServer:
    """The embedded model server, from parsed flags."""

    def __init__(self, flags: Parsed) -> None:
        """Check the flags and read the configuration files.  Raises Status as upstream's start-up does."""
        check(flags)
        self._flags = flags
        self._config = _model_config(flags)
        self._pool, self._batching = _batching(flags)
        self._slots = Slots(RUNS_PER_CPU * CPUS)
        self._engine: Engine | None = None
        self.metrics = Metrics()
        interval = flags.load_retry_interval_micros / 1e6
        self.repository = Repository(self._load, flags.file_system_poll_wait_seconds, flags.max_num_load_retries, interval)
        resolver = Resolver(self.repository)
        self._planner = Planner(flags.enable_signature_method_name_check, flags.enable_serialization_as_tensor_content)
        self.core = Core(resolver, self.metrics, self._planner)
        self.info = ModelInfo(resolver)
        self.configuration = Configuration(resolver, self.metrics, flags.allow_version_labels_for_unavailable_models)
        self._stop = threading.Event()
        self._grpc: GrpcServer | None = None
        self._rest: Any = None

    # -- loading ----------------------------------------------------------------------------------

    def _make_engine(self) -> Engine:
        from serving.tensorflow_engine import TensorFlowEngine

        flags = self._flags
        both = flags.tensorflow_session_parallelism
        return TensorFlowEngine(
            EngineOptions(
                intra_op_threads=both or flags.tensorflow_intra_op_parallelism,
                inter_op_threads=both or flags.tensorflow_inter_op_parallelism,
                session_config=Path(flags.tensorflow_session_config_file) if flags.tensorflow_session_config_file else None,
            )
        )

    def _load(self, name: str, version: int, path: Path) -> Servable:
        """Load, wrap in batching, warm up (repository.Loader)."""
        if not any((path / file).exists() for file in SAVED_MODEL_FILES):
            raise Status(
                Code.NOT_FOUND,
                "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
                f"`saved_model.pb`)\nSpecified file path: {path}",
            )
        assert self._engine is not None
        flags = self._flags
        options = self._batching_of(path)
        model = self._engine.load(path, [tag for tag in flags.saved_model_tags.split(",") if tag])
        try:
            runner: Runner = (
                BatchingRunner(model, options, self._pool, self._slots, self.metrics)
                if options
                else DirectRunner(model, self._slots)
            )
            servable = Servable(name, version, model, runner)
            if flags.enable_model_warmup:
                warm_up(
                    servable,
                    path,
                    flags.num_request_iterations_for_warmup,
                    self._planner,
                    self.metrics,
                )
            return servable
        except BaseException:
            model.close()
            raise

    def _batching_of(self, path: Path) -> BatchingOptions | None:
        if not self._flags.enable_batching:
            return None
        if not self._flags.enable_per_model_batching_parameters:
            return BatchingOptions.of(self._batching)
        own = path / "batching_params.pbtxt"
        return BatchingOptions.of(text_config.read(str(own), messages.BatchingParameters)) if own.exists() else None

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Load the models, then open the ports.  Raises Status; returns once the server answers."""
        flags = self._flags
        self._engine = self._make_engine()
        self.repository.start()
        self.configuration.apply(self._config, at_start=True)
        if flags.model_config_file and flags.model_config_file_poll_wait_seconds > 0:
            threading.Thread(
                target=self.configuration.watch, name="config file", daemon=True,
                args=(flags.model_config_file, flags.model_config_file_poll_wait_seconds, self._stop),
            ).start()  # fmt: skip
        self._start_grpc()
        self._start_rest()

    def _start_grpc(self) -> None:
        flags = self._flags
        table = handlers(self.core, self.info, self.configuration, flags.enable_grpc_healthcheck_service)
        limit = flags.grpc_max_threads if flags.grpc_max_threads > 0 else MAX_CALLS
        self._grpc = GrpcServer(table, limit, _channel_arguments(flags.grpc_channel_arguments))
        tls = _credentials(flags.ssl_config_file)
        if flags.port and not self._grpc.add_port(f"{flags.bind_address}:{flags.port}", tls):
            raise Status(Code.UNKNOWN, "Failed to BuildAndStart gRPC server")
        if flags.grpc_socket_path:
            _make_way(Path(flags.grpc_socket_path))
            if not self._grpc.add_port(f"unix:{flags.grpc_socket_path}", tls):
                raise Status(Code.UNKNOWN, "Failed to BuildAndStart gRPC server")
        self._grpc.start()
        if flags.port:
            log.info("Running gRPC ModelServer at %s:%d ...", flags.bind_address, flags.port)
        if flags.grpc_socket_path:
            log.info("Running gRPC ModelServer at UNIX socket %s ...", flags.grpc_socket_path)

    def _start_rest(self) -> None:
        flags = self._flags
        if not flags.rest_api_port:
            return
        if flags.rest_api_port == flags.port:
            log.error(
                "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
                "Skipped exporting HTTP/REST API."
            )
            return
        from serving.rest_server import RestServer

        try:
            monitoring = (
                text_config.read(flags.monitoring_config_file, messages.MonitoringConfig)
                if flags.monitoring_config_file
                else None
            )
            self._rest = RestServer(self.core, self.info, self.metrics, flags, monitoring)
            self._rest.start()
        except Status as status:
            log.error("%s", status)
            return
        except (OSError, OverflowError) as exc:  # taken, or no port number at all
            log.error("Failed to start HTTP Server at localhost:%d: %s", flags.rest_api_port, exc)
            return
        log.info("Exporting HTTP/REST API at:localhost:%d ...", flags.rest_api_port)

    def stop(self) -> None:
        """Refuse new requests, finish those in work, free the models."""
        self._stop.set()
        transports = [transport for transport in (self._rest, self._grpc) if transport is not None]
        stops = [threading.Thread(target=transport.stop, args=(GRACE_S,), daemon=True) for transport in transports]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        if self._flags.grpc_socket_path:
            Path(self._flags.grpc_socket_path).unlink(missing_ok=True)
        self.repository.stop()


def check(flags: Parsed) -> None:
    """Refuse combinations of flags, in upstream's order.  Raises Status."""
    if not flags.port and not flags.grpc_socket_path:
        raise invalid("At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.")
    if flags.use_alts_credentials and flags.ssl_config_file:
        raise invalid("Either use_alts_credentials must be false or ssl_config_file must be empty.")
    if not flags.model_base_path and not flags.model_config_file:
        raise invalid("Both server_options.model_base_path and server_options.model_config_file are empty!")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise invalid("server_options.batching_parameters_file is set without setting server_options.enable_batching to true.")
    threads = (flags.tensorflow_session_parallelism, flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    if all(count > 0 for count in threads):
        raise invalid(
            "Either configure server_options.tensorflow_session_parallelism or (server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all."
        )


def _model_config(flags: Parsed) -> Any:
    if flags.model_config_file:
        return text_config.read(flags.model_config_file, messages.ModelServerConfig)
    config = messages.ModelServerConfig()
    config.model_config_list.config.add(
        name=flags.model_name, base_path=flags.model_base_path, model_platform="tensorflow"
    )  # fmt: skip
    return config


def _batching(flags: Parsed) -> tuple[BatchPool, Any]:
    message = messages.BatchingParameters()
    if flags.enable_batching and flags.batching_parameters_file:
        message = text_config.read(flags.batching_parameters_file, messages.BatchingParameters)
    return BatchPool(message.num_batch_threads.value if message.HasField("num_batch_threads") else CPUS), message


def _channel_arguments(text: str) -> list[tuple[str, Any]]:
    """`name=value,name=value`; a value is an int if it reads as one.  An item without `=` is left out."""
    found: list[tuple[str, Any]] = []
    for item in text.split(","):
        name, separator, value = item.partition("=")
        if not separator:
            if item:
                log.warning("grpc_channel_arguments: %r has no '=' and is left out", item)
            continue
        whole = re.fullmatch(r"[+-]?[0-9]{1,10}", value) is not None and -(2**31) <= int(value) < 2**31
        found.append((name, int(value) if whole else value))
    return found


def _make_way(path: Path) -> None:
    """Remove a socket that an earlier server left.  Raises Status where something else is in the way."""
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
        else:
            raise Status(Code.UNKNOWN, f"Failed to BuildAndStart gRPC server: {path} is there and is no socket")
    except FileNotFoundError:
        return
    except OSError as exc:
        raise Status(Code.UNKNOWN, f"Failed to BuildAndStart gRPC server: {path}: {exc.strerror}") from exc


def _credentials(path: str) -> ServerCredentials | None:
    if not path:
        return None
    config = text_config.read(path, messages.SslConfig)
    if config.client_verify and not config.custom_ca:
        raise invalid(f"{path}: client_verify needs custom_ca, to know whom to believe")
    return credentials(config.server_key, config.server_cert, config.custom_ca, config.client_verify)


def warn_about_idle(flags: Parsed) -> None:
    """Say which flags were taken and change nothing."""
    for name in flags.idle:
        log.warning("--%s is accepted for compatibility and has no effect here", name)
    sys.stderr.flush()
