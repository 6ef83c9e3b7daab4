"""Our own deployment for a load test: both tiers on free ports of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from digits.settings import LocalSettings, read
from loadtest.kinds import GATEWAY, GRPC, REST
from loadtest.target import NotThere, Target, free_ports

if TYPE_CHECKING:
    from local.deployment import Deployment

READY_S = 15.0


def given(host: str, grpc: str, rest: str) -> Target | None:
    """The target of the addresses that were given; None if there are none."""
    addresses = {GATEWAY: host.rstrip("/"), GRPC: grpc, REST: rest.rstrip("/")}
    doors = {door: address for door, address in addresses.items() if address}
    return Target(doors) if doors else None


def start(say: Callable[[str], None], started: Sequence[Callable[[Deployment], None]] = ()) -> Target:
    """Start the deployment and wait for it.  started: told of it before it is ready, so that it can be stopped.

    Ports that DIGITS_WEB_PORT, DIGITS_GRPC_PORT and DIGITS_REST_PORT do not name are free ones, so a running
    `make run` is left alone.  Raises NotThere.
    """
    try:  # an image that only drives load has no deployment to start
        from local.deployment import CannotStart, Deployment
    except ModuleNotFoundError as exc:
        raise NotThere(f"without an address a deployment is started here, and there is no package {exc.name!r}") from exc
    settings = read(LocalSettings)
    names = [name for name in ("web_port", "grpc_port", "rest_port") if f"DIGITS_{name.upper()}" not in os.environ]
    ports: dict[str, Any] = dict(zip(names, free_ports(len(names)), strict=True))
    settings = replace(settings, **ports)
    say("starting the model server and the gateway on this machine")
    deployment = Deployment(settings)
    for tell in started:
        tell(deployment)
    try:
        deployment.start()
    except CannotStart as exc:
        raise NotThere(str(exc)) from exc
    doors = {GATEWAY: deployment.url, REST: f"http://127.0.0.1:{settings.rest_port}", GRPC: f"127.0.0.1:{settings.grpc_port}"}
    target, until = Target(doors), time.monotonic() + READY_S
    while True:  # one worker of the gateway was ready; the others may have asked the model server too early
        try:
            target.check()
            return target
        except NotThere:
            if time.monotonic() > until:
                raise
            time.sleep(0.3)
