"""Replays recorded exchanges with TensorFlow Serving 2.20.0 and reports every difference.

    python tests/replay.py TRANSCRIPTS MODELS [GROUP ...]

TRANSCRIPTS holds catalogue.json and answers.json; MODELS is the folder that the recording's own
script filled.  The test of the same name runs it; by hand it prints a line a difference.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from digits import wire
from serving import grpc_api, messages

COMMAND = [sys.executable, "-X", "faulthandler", "-m", "serving"]
START_S = 30.0

_METHODS = {
    "Predict": ("PredictionService", wire.PredictRequest, wire.PredictResponse),
    "Classify": ("PredictionService", messages.ClassificationRequest, messages.ClassificationResponse),
    "Regress": ("PredictionService", messages.RegressionRequest, messages.RegressionResponse),
    "MultiInference": ("PredictionService", messages.MultiInferenceRequest, messages.MultiInferenceResponse),
    "GetModelMetadata": ("PredictionService", wire.GetModelMetadataRequest, wire.GetModelMetadataResponse),
    "GetModelStatus": ("ModelService", wire.GetModelStatusRequest, wire.GetModelStatusResponse),
    "HandleReloadConfigRequest": ("ModelService", messages.ReloadConfigRequest, messages.ReloadConfigResponse),
}
_FOREIGN = {
    "Check": ("/grpc.health.v1.Health/Check", grpc_api.HealthCheckRequest, grpc_api.HealthCheckResponse),
    "Nonexistent": ("/tensorflow.serving.PredictionService/Nonexistent", None, None),
    "SessionRun": ("/tensorflow.serving.SessionService/SessionRun", None, None),
    "PredictStreamed": ("/tensorflow.serving.PredictionService/PredictStreamed", None, None),
    "ServerReflectionInfo": ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", None, None),
}

SETTLE_S = 3.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class Replay:
    """Runs groups of the catalogue against servers it starts."""

    transcripts: Path
    models: Path
    differences: list[str] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        self.catalogue = json.loads((self.transcripts / "catalogue.json").read_text())
        self.answers = json.loads((self.transcripts / "answers.json").read_text())

    def groups(self) -> list[str]:
        return [group["name"] if "name" in group else group["id"] for group in self.catalogue["groups"]]

    def run(self, names: list[str]) -> None:
        """Replay the named groups, a server a flag set."""
        for server in dict.fromkeys(g.get("server") for g in self._chosen(names)):
            with tempfile.TemporaryDirectory() as folder:
                work = Path(folder)
                groups = [g for g in self._chosen(names) if g.get("server") == server]
                if server is None:
                    for group in groups:
                        self._processes(group, work)
                    continue
                with Server(self, self.catalogue["servers"][server], work) as running:
                    for group in groups:
                        for step in group["steps"]:
                            self._step(running, step)

    def _chosen(self, names: list[str]) -> list[dict[str, Any]]:
        return [g for g in self.catalogue["groups"] if not names or (g.get("name") or g.get("id")) in names]

    def fill(self, text: str, work: Path, port: int, rest: int) -> str:
        for name, value in (("models", self.models), ("work", work), ("port", port), ("rest", rest), ("server", "{server}")):
            text = text.replace("{" + name + "}", str(value))
        return text

    def differ(self, step: str, what: str, got: Any, want: Any) -> None:
        self.differences.append(f"{step}: {what}\n    got  {_short(got)}\n    want {_short(want)}")

    # -- steps ------------------------------------------------------------------------------------

    def _step(self, server: Server, step: dict[str, Any]) -> None:
        filled = json.loads(self.fill(json.dumps(step), server.work, server.port, server.rest))
        if "path" in step:
            filled["path"] = step["path"]
        name = step.get("id", "?")
        want = self.answers.get(name)
        if want is not None:
            want = json.loads(self.fill(json.dumps(want), server.work, server.port, server.rest))
        self.steps += 1
        if "rest" in filled:
            self._rest(server, name, filled, want)
        elif "grpc" in filled:
            self._grpc(server, name, filled, want)
        elif "watch" in filled:
            self._watch(server, name, filled, want)
        elif "publish" in filled:
            publish(self.models / filled["publish"][0], server.work / filled["publish"][1])
        elif "file" in filled:
            (server.work / filled["file"]).write_text("")
        elif "remove" in filled:
            path = server.work / filled["remove"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif "rename" in filled:
            (server.work / filled["rename"][0]).rename(server.work / filled["rename"][1])
        elif "write" in filled:
            path = server.work / filled["write"]
            scratch = path.with_suffix(".writing")
            scratch.write_text(filled["text"])
            scratch.replace(path)
        elif "sleep" in filled:
            time.sleep(filled["sleep"])
        else:
            raise AssertionError(f"unknown step {step}")

    def _grpc(self, server: Server, name: str, step: dict[str, Any], want: dict[str, Any]) -> None:
        method = step["grpc"]
        if method in _METHODS:
            service, request_class, response_class = _METHODS[method]
            path = f"/tensorflow.serving.{service}/{method}"
        else:
            path, request_class, response_class = _FOREIGN[method]
        request = step["request"]
        if "base64" in request:
            data = base64.b64decode(request["base64"])
        elif request_class is None:
            data = b""
        else:
            data = json_format.ParseDict(request, request_class(), descriptor_pool=wire.pool).SerializeToString()
        call = server.channel.unary_unary(path)
        try:
            raw = call(data, timeout=step.get("deadline", 30))
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if code != want["code"]:
                if name != "batching/empty-batch-hangs":
                    self.differ(name, "code", f"{code} {details}", want)
                return
            if code not in ("UNIMPLEMENTED", "DEADLINE_EXCEEDED", "INTERNAL") and not step.get("either"):
                self._text(name, details, want["details"])
            return
        if want["code"] != "OK":
            if name not in ("batching/empty-batch-hangs", "grpc-classify/kinds-bytes-not-utf8"):
                self.differ(name, "code", "OK", want)
            return
        got = json_format.MessageToDict(
            response_class.FromString(raw), preserving_proto_field_name=True, descriptor_pool=wire.pool
        )  # fmt: skip
        if not same(got, want["response"]):
            self.differ(name, "response", got, want["response"])

    def _rest(self, server: Server, name: str, step: dict[str, Any], want: dict[str, Any]) -> None:
        if want["status"] == 0:
            return  # "no answer at all": not worth copying
        connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=step.get("deadline", 30))
        times = step.get("times", 1)
        wanted = want.get("answers", [want])
        for at in range(times):
            try:
                got = self._exchange(connection, step, close=times == 1)
            except TimeoutError:
                self.differ(name, "time", "no answer", wanted[at])
                break
            self._compare_rest(name if times == 1 else f"{name}[{at}]", step, got, wanted[at])
        connection.close()

    def _exchange(self, connection: http.client.HTTPConnection, step: dict[str, Any], close: bool) -> dict[str, Any]:
        body = _body(step)
        connection.putrequest(step["rest"], step["path"], skip_accept_encoding=True) if _plain(step["path"]) else _raw_request(
            connection, step["rest"], step["path"]
        )
        for key, value in step.get("headers", {}).items():
            connection.putheader(key, value)
        if close:
            connection.putheader("Connection", "close")
        if step.get("chunked"):
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            half = len(body) // 2
            for part in (body[:half], body[half:]):
                connection.send(b"%x\r\n%s\r\n" % (len(part), part))
            connection.send(b"0\r\n\r\n")
        else:
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            connection.send(body)
        response = connection.getresponse()
        data = response.read()
        return {
            "status": response.status,
            "reason": response.reason,
            "headers": {k.lower(): v for k, v in response.getheaders()},
            "body": data,
        }

    def _compare_rest(self, name: str, step: dict[str, Any], got: dict[str, Any], want: dict[str, Any]) -> None:
        if got["status"] != want["status"]:
            self.differ(name, "status", f"{got['status']} {got['body'][:300]!r}", want)
            return
        if step.get("either"):
            return
        page = "text/html" in want["headers"].get("content-type", "") and want.get("body")
        if page:
            return
        if got["reason"] != want["reason"]:
            self.differ(name, "reason", got["reason"], want["reason"])
        for key, value in want["headers"].items():
            if got["headers"].get(key, "").lower() != value.lower():
                self.differ(name, f"header {key}", got["headers"].get(key), value)
        if step["rest"] == "HEAD":
            return
        if step.get("keep") == "prometheus":
            self._prometheus(name, got["body"].decode(), want["metrics"])
            return
        wanted = base64.b64decode(want["body_base64"]) if "body_base64" in want else want["body"].encode()
        if name.startswith("rest-numbers") and _lines(got["body"]) != _lines(wanted):
            self.differ(name, "printing", got["body"], wanted)
            return
        self._compare_bodies(name, got["body"], wanted)

    def _compare_bodies(self, name: str, got: bytes, want: bytes) -> None:
        if got == want:
            return
        try:
            # as Latin-1: strings need not be UTF-8
            parsed, expected = (json.loads(body.decode("latin-1"), strict=False) for body in (got, want))
        except ValueError:
            self.differ(name, "body", got, want)
            return
        if isinstance(expected, dict) and "error" in expected:
            self._text(name, parsed.get("error", f"no error: {got[:200]!r}"), expected["error"])
        elif not same(parsed, expected):
            self.differ(name, "body", got, want)

    def _prometheus(self, name: str, page: str, want: dict[str, Any]) -> None:
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M))
        for metric, shape in want.items():
            if not metric.startswith(":tensorflow:serving:"):
                continue
            if kinds.get(metric) != shape["kind"]:
                self.differ(name, metric, kinds.get(metric), shape)
                continue
            found = {
                ",".join(k for k in re.findall(r'(\w+)="', labels) if k != "le")
                for labels in re.findall(rf"^{re.escape(metric)}(?:_bucket|_sum|_count)?\{{(.*)\}} \S+$", page, re.M)
            }
            if not found >= set(shape["labels"]):
                self.differ(name, metric, found, shape["labels"])

    def _watch(self, server: Server, name: str, step: dict[str, Any], want: dict[str, Any]) -> None:
        call = server.channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        request = wire.GetModelStatusRequest()
        request.model_spec.name = step["watch"]
        states: dict[str, str] = {}
        until, settled = time.monotonic() + step["seconds"], 0.0
        while time.monotonic() < until:
            try:
                response = wire.GetModelStatusResponse.FromString(call(request.SerializeToString(), timeout=5))
            except grpc.RpcError as error:
                states = {"error": error.code().name}
            else:
                state_name = response.DESCRIPTOR.fields[0].message_type.fields_by_name["state"].enum_type.values_by_number
                states = {str(v.version): state_name[v.state].name for v in response.model_version_status}
            if step["until"].items() <= states.items():
                if states == want["last"]:
                    break
                until = min(until, settled := settled or time.monotonic() + SETTLE_S)  # the others unload in threads of their own
            time.sleep(0.01)
        if not step["until"].items() <= states.items() and want["reached"]:
            self.differ(name, "states", states, want["last"])
        elif states != want["last"]:
            self.differ(name, "last states", states, want["last"])

    # -- processes --------------------------------------------------------------------------------

    def _processes(self, group: dict[str, Any], work: Path) -> None:
        for step in group["steps"]:
            self.steps += 1
            folder = work / step["id"].rpartition("/")[2]
            folder.mkdir()
            port, rest = free_port(), free_port()
            for file, text in step.get("text", {}).items():
                (folder / file).write_text(self.fill(text, folder, port, rest))
            (folder / "models.config").touch()
            arguments = [self.fill(argument, folder, port, rest) for argument in step["process"]]
            self._process(step, arguments, folder, port, rest)

    def _process(self, step: dict[str, Any], arguments: list[str], folder: Path, port: int, rest: int) -> None:
        want = json.loads(self.fill(json.dumps(self.answers[step["id"]]), folder, port, rest))
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen([*COMMAND, *arguments], stdout=out, stderr=err)
            try:
                exit_code: int | None = None
                until = time.monotonic() + START_S
                while time.monotonic() < until and exit_code is None:
                    exit_code = process.poll()
                    if want["exit"] is None and not step.get("ready") and _has_lines(folder / "err", want["stderr_has"]):
                        time.sleep(step["seconds"])  # it must still be waiting then
                        exit_code = process.poll()
                        break
                    if (
                        want["exit"] is None
                        and step.get("ready")
                        and b"Running gRPC ModelServer" in (folder / "err").read_bytes()
                    ):
                        time.sleep(0.5)
                        exit_code = process.poll()
                        break
                    time.sleep(0.02)
            finally:
                process.kill()
                process.wait()
        stdout, stderr = (folder / "out").read_text(), (folder / "err").read_text()
        name = step["id"]
        if exit_code != want["exit"]:
            self.differ(name, "exit", f"{exit_code} {stdout[:200]} {stderr[-300:]}", want)
            return
        for line in want["stdout"]:
            fixed_part = line.split("{server}")[0].split("{address}")[0]
            if fixed_part not in stdout:
                self.differ(name, "stdout", stdout[:400], fixed_part)
        for line in want["stderr_has"]:
            for part in line.split("{address}"):
                if part not in stderr:
                    self.differ(name, "stderr", stderr[-600:], part)
        if "usage_on_stdout" in want and ("usage: " in stdout) != want["usage_on_stdout"]:
            self.differ(name, "usage", stdout[:100], want["usage_on_stdout"])

    def _text(self, name: str, got: str, want: str) -> None:
        """Compare an error text by its fixed part."""
        if fixed(got) != fixed(want):
            self.differ(name, "text", got, want)


@dataclass
class Server:
    """A server process with the catalogue's flags and files."""

    replay: Replay
    setup: dict[str, Any]
    work: Path

    def __enter__(self) -> Server:
        self.port, self.rest = free_port(), free_port()

        def fill(text: str) -> str:
            return self.replay.fill(text, self.work, self.port, self.rest)

        for file, text in self.setup.get("files", {}).items():
            (self.work / file).write_text(fill(text))
        for source, target in self.setup.get("publish", []):
            publish(self.replay.models / source, self.work / target)
        flags = [f"--port={self.port}", f"--rest_api_port={self.rest}", *map(fill, self.setup["flags"])]
        self._log = (self.work / "server.log").open("wb")
        self.process = subprocess.Popen([*COMMAND, *flags], stdout=self._log, stderr=self._log)
        until = time.monotonic() + START_S
        while time.monotonic() < until and b"Exporting HTTP/REST" not in (self.work / "server.log").read_bytes():
            if self.process.poll() is not None:
                raise RuntimeError((self.work / "server.log").read_text()[-2000:])
            time.sleep(0.02)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.max_receive_message_length", -1)])
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler prints every thread's stack
            self.process.wait(10)
            raise RuntimeError("the server did not stop:\n" + (self.work / "server.log").read_text()[-8000:]) from None
        finally:
            self._log.close()
        if os.environ.get("SHOW_LOG"):
            print((self.work / "server.log").read_text()[-6000:])


def publish(source: Path, target: Path) -> None:
    """Copy beside the target, then rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f"tmp-{os.getpid()}-{target.name.strip() or 'x'}")
    shutil.copytree(source, scratch)
    scratch.rename(target)


def same(got: Any, want: Any) -> bool:
    """Equal as JSON, floats to six digits."""
    if isinstance(want, dict) and isinstance(got, dict):
        return got.keys() == want.keys() and all(same(got[k], want[k]) for k in want)
    if isinstance(want, list) and isinstance(got, list):
        return len(got) == len(want) and all(map(same, got, want))
    if isinstance(want, float) and isinstance(got, int | float) and not isinstance(got, bool):
        return got == want or (math.isnan(got) and math.isnan(want)) or math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-12)
    return (type(got) is type(want) and got == want) or (isinstance(got, float) and isinstance(want, int) and got == want)


_ONE_OF_SEVERAL = (
    r"Missing named input: \S+ in", r"Tensor name: \S+ has inconsistent batch size: .*", r"Signature input alias: \S+\(.*?\) not",
    r"tensor parsing error: \S+",
)  # fmt: skip


def fixed(text: str) -> str:
    """The part of a message that does not vary: no dumps, offsets, node names; names in sorted order."""
    text = re.sub(r"\s*\[\[\{\{.*", "", text, flags=re.S)
    text = re.sub(
        r"JSON Value: .*?(?= (?:[Ii]s not|Expecting|[Nn]ot formatted|No values|Type:|to type|found at)|$)",
        "JSON Value: *",
        text,
        flags=re.S,
    )
    text = re.sub(r"JSON object: .*?(?= (?:keys|does))", "JSON object: *", text, flags=re.S)
    text = re.sub(r"at offset: \d+", "at offset: *", text)
    text = re.sub(r"(SignatureDef: |Signature was: ).*", r"\1*", text, flags=re.S)
    for pattern in _ONE_OF_SEVERAL:
        text = re.sub(pattern, "*", text)
    text = re.sub(r"\{([^{}]*)\}", lambda m: "{" + ",".join(sorted(m[1].split(","))) + "}", text)
    text = re.sub(
        r"(default input alias set: |keys must be equal to: |request inputs?: )([^ ]*)",
        lambda m: m[1] + ",".join(sorted(m[2].split(","))),
        text,
    )
    return text


def _has_lines(log: Path, lines: list[str]) -> bool:
    text = log.read_text()
    return all(part in text for line in lines for part in line.split("{address}"))


def _lines(body: bytes) -> list[bytes]:
    """Lines in any order, commas apart: the order of keys is not fixed."""
    return sorted(line.rstrip(b",") for line in body.split(b"\n"))


def _plain(path: str) -> bool:
    return not re.search(r"[\x00-\x20\x7f]", path) and path.isascii() and path.startswith("/")


def _raw_request(connection: http.client.HTTPConnection, method: str, path: str) -> None:
    """putrequest without http.client's opinion of the path."""
    connection.putrequest(method, "/", skip_accept_encoding=True)
    connection._buffer[0] = f"{method} {path} HTTP/1.1".encode()  # type: ignore[attr-defined]


def _body(step: dict[str, Any]) -> bytes:
    if "body_base64" in step:
        body = base64.b64decode(step["body_base64"])
    elif "body_parts" in step:
        body = "".join(part * times for part, times in step["body_parts"]).encode()
    else:
        body = step.get("body", "").encode()
    return gzip.compress(body) if step.get("gzip") else body


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) < 600 else text[:600] + " …"


if __name__ == "__main__":
    run = Replay(Path(sys.argv[1]), Path(sys.argv[2]))
    run.run(sys.argv[3:])
    print(*run.differences, f"{run.steps} steps, {len(run.differences)} differences", sep="\n")
    sys.exit(bool(run.differences))
