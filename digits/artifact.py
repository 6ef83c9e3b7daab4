"""What lies beside the graph in a version directory: names of files, and the card as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from digits.contract import fingerprint
from digits.errors import ContractMismatch, IncompleteVersion

EXTRA = "assets.extra"
CARD = f"{EXTRA}/digits.json"
MODEL_CARD = f"{EXTRA}/README.md"
WARMUP = f"{EXTRA}/tf_serving_warmup_requests"


def read_card(version_dir: Path) -> dict[str, Any]:
    """Return digits.json of a version.  Raises IncompleteVersion."""
    path = version_dir / CARD
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise IncompleteVersion(f"{path} cannot be read: {exc}") from exc
    if not isinstance(card, dict):
        raise IncompleteVersion(f"{path}: got {type(card).__name__}; wanted an object")
    return card


def check_fingerprint(found: str, where: str) -> None:
    """Raise ContractMismatch unless the artifact was made for this code's contract."""
    if found != fingerprint():
        raise ContractMismatch(f"{where} was made for contract {found[:12] or 'none'}…; this code speaks {fingerprint()[:12]}…")
