"""A bill of materials for each image, from its lock: `python tools/sbom.py FOLDER` writes FOLDER/digits-NAME.cdx.json.

CycloneDX 1.5; a component is a package with its exact version and the hashes that pip accepts for it.  What the base
image brings is the scanner's to say.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = {"gateway": "web", "serving": "serve", "trainer": "train", "loadtest": "load"}

_PINNED = re.compile(r"^([a-z0-9-]+)==([^\s;\\]+)([^\\\n]*)\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", re.MULTILINE)


def components(lock: str) -> list[dict[str, Any]]:
    """The packages of a requirements file with hashes; those of other platforms too, with their condition."""
    found = []
    for name, version, condition, hashes in _PINNED.findall(lock):
        marker = condition.strip().removeprefix(";").strip()
        found.append({
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
            "hashes": [{"alg": "SHA-256", "content": one} for one in re.findall(r"sha256:([0-9a-f]{64})", hashes)],
            **({"properties": [{"name": "pip:marker", "value": marker}]} if marker else {}),
        })  # fmt: skip
    return found


def document(name: str, version: str) -> dict[str, Any]:
    """One image's bill."""
    lock = (ROOT / "requirements" / f"{LOCKS[name]}.txt").read_text()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"digits-{name}", "version": version}},
        "components": components(lock),
    }


def main(folder: str) -> int:
    """Write all four."""
    from images import version  # the module beside this one

    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in LOCKS:
        bill = document(name, version())
        path = Path(folder) / f"digits-{name}.cdx.json"
        path.write_text(json.dumps(bill, indent=1) + "\n")
        print(f"{path}: {len(bill['components'])} packages")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/sbom.py FOLDER")
    sys.exit(main(sys.argv[1]))
