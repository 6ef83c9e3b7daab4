"""Versions on disk: which there are under a base path, and which of them a policy wants."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass
class ModelSource:
    """Where one model's versions lie and which of them are wanted.

    policy: a FileSystemStoragePathSourceConfig.ServableVersionPolicy message.
    """

    name: str
    base_path: Path
    policy: Any


def version_number(name: str) -> int | None:
    """Read a directory's name as a version, as upstream does: a signed 64-bit decimal, or None."""
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", name, re.ASCII):
        return None
    number = int(name)
    return number if -(2**63) <= number < 2**63 else None


def aspired_versions(source: ModelSource) -> dict[int, Path]:
    """Return the versions that the policy wants among those present.

    Raises FileNotFoundError if the base path is not there.
    """
    children: dict[int, str] = {}
    for name in sorted(entry.name for entry in source.base_path.iterdir()):
        number = version_number(name)
        if number is None:
            continue
        if number in children:
            log.warning(
                "Duplicate version directories detected. Version %d will be loaded from %s, %s will be ignored.",
                number, name, children[number],
            )  # fmt: skip
        children[number] = name
    choice = source.policy.WhichOneof("policy_choice") if source.policy is not None else None
    if choice == "all":
        wanted: Iterable[int] = children
    elif choice == "specific":
        asked = list(dict.fromkeys(source.policy.specific.versions))
        for number in asked:
            if number not in children:
                log.warning(
                    "Version %d of servable %s, which was requested to be served as a 'specific' version in the servable's "
                    "version policy, was not found in the file system", number, source.name,
                )  # fmt: skip
        for number in asked:  # the canonical name comes before any other spelling of the number
            if number in children and (source.base_path / str(number)).exists():
                children[number] = str(number)
        wanted = [number for number in asked if number in children]
    else:
        count = max(1, source.policy.latest.num_versions) if choice == "latest" else 1
        wanted = sorted(children, reverse=True)[:count]
    found = {number: source.base_path / children[number] for number in wanted}
    if not found:
        log.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your leaf directory as a number "
            "(eg. '/1/')?", source.name, source.base_path,
        )  # fmt: skip
    return found
