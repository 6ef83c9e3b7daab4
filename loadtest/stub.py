"""A deployment that answers at once, to find out how much the generator itself can send.

It knows every body that the generator sends and looks the answer up, over HTTP for the gateway and the
REST API and over gRPC.  --wrong-every spoils every n-th answer, --misread reads every n-th drawing as
another digit, as an honest model may, --delay-ms holds each answer back.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
from dataclasses import replace

import grpc
import numpy as np

from digits import contract as c
from digits import tensor, wire
from loadtest import hands
from loadtest.kinds import GATEWAY, GRPC, KINDS, REST, Prepared, bodies

SEEN = "data:image/png;base64," + 400 * "A"  # as long as the gateway's picture of what the model saw


class Answers:
    """The answer to every body that the generator sends."""

    def __init__(self, count: int, wrong_every: int = 0, misread: int = 0) -> None:
        drawings = hands.prepare(count)
        if misread:
            drawings[::misread] = [replace(one, label=(one.label + 1) % 10) for one in drawings[::misread]]
        self._known: dict[bytes, tuple[str, Prepared]] = {}
        for kind in KINDS.values():
            self._known.update({one.body: (kind.door, one) for one in bodies(kind, drawings)})
        self._right = {body: _reply(door, one.labels) for body, (door, one) in self._known.items()}
        self._wrong_every = wrong_every
        self._number = itertools.count(1)

    def to(self, body: bytes) -> bytes | None:
        """The answer, or None for a body that is not known."""
        if self._wrong_every and body in self._known and next(self._number) % self._wrong_every == 0:
            door, one = self._known[body]
            return _reply(door, tuple((label + 1) % 10 for label in one.labels))
        return self._right.get(body)


def _reply(door: str, labels: tuple[int, ...]) -> bytes:
    rows = np.full((len(labels), c.CLASSES), 0.001, np.float32)
    rows[np.arange(len(labels)), labels] = 0.991
    if door == GRPC:
        answer = wire.PredictResponse()
        tensor.fill(answer.outputs[c.PROBABILITIES], rows)
        tensor.fill(answer.outputs[c.DIGIT], np.array(labels, np.int64))
        reply: bytes = answer.SerializeToString()
        return reply
    probabilities = rows.astype(float).round(4).tolist()
    if door == REST:
        both = zip(probabilities, labels, strict=True)
        return json.dumps({"predictions": [{c.PROBABILITIES: row, c.DIGIT: label} for row, label in both]}).encode()
    assert door == GATEWAY
    results = [{"digit": label, "confidence": 0.991, "sure": True, "probabilities": row, "image": SEEN}
               for row, label in zip(probabilities, labels, strict=True)]  # fmt: skip
    return json.dumps({"results": results} if len(labels) > 1 else results[0]).encode()


class Http(asyncio.Protocol):
    """Just enough of HTTP/1.1: keep-alive, Content-Length."""

    def __init__(self, answers: Answers, delay_s: float) -> None:
        self._answers, self._delay_s, self._data = answers, delay_s, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            body, self._data = self._data[end + 4 : end + 4 + length], self._data[end + 4 + length :]
            reply = b'{"status":"ready"}' if head.startswith(b"get ") else self._answers.to(body)
            status = b"200 OK" if reply is not None else b"404 Not Found"
            reply = reply or b"{}"
            message = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
                status,
                len(reply),
                reply,
            )
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, message)
            else:
                self._transport.write(message)


async def serve(options: argparse.Namespace) -> None:
    """Answer until the process is stopped."""
    answers, delay_s = Answers(options.drawings, options.wrong_every, options.misread), options.delay_ms / 1000

    async def predict(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if delay_s:
            await asyncio.sleep(delay_s)
        reply = answers.to(body)
        if reply is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "a body that the stub does not know")
        return reply or b""

    service, method = wire.PREDICT[1:].split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: grpc.unary_unary_rpc_method_handler(predict)}),)
    )
    server.add_insecure_port(f"127.0.0.1:{options.grpc_port}")
    await server.start()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Http(answers, delay_s), "127.0.0.1", options.port)
    print("ready", flush=True)
    await listening.serve_forever()


def main() -> int:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.stub", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="HTTP, for the gateway's and the REST API's paths")
    parser.add_argument("--grpc-port", type=int, required=True, help="gRPC, for Predict")
    parser.add_argument("--drawings", type=int, default=hands.COUNT, help="different drawings that are known")
    parser.add_argument("--wrong-every", type=int, default=0, metavar="N", help="spoil every N-th answer")
    parser.add_argument("--misread", type=int, default=0, metavar="N", help="read every N-th drawing as another digit, always")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="hold each answer back so long")
    asyncio.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
