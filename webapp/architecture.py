"""The network as a row of blocks: as tall as its maps are wide, as wide as there are many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GAP = 14.0
MIDDLE = 84.0
TALLEST = 128.0
WIDEST_MAP_PX = 32


def _layer(name: str, kind: str, output: list[int], parameters: int = 0) -> dict[str, Any]:
    return {"name": name, "kind": kind, "output": output, "parameters": parameters}


KNOWN = {
    "LeNet-5 v2": [
        _layer("input", "input", [32, 32, 1]),
        _layer("convolution_1", "5×5 conv", [28, 28, 32], 832),
        _layer("convolution_2", "5×5 conv", [24, 24, 32], 25_728),
        _layer("pool_1", "max-pool", [12, 12, 32]),
        _layer("convolution_3", "3×3 conv", [10, 10, 64], 18_496),
        _layer("convolution_4", "3×3 conv", [8, 8, 64], 37_120),
        _layer("pool_2", "max-pool", [4, 4, 64]),
        _layer("fully_connected_1", "dense", [256], 263_168),
        _layer("fully_connected_2", "dense", [128], 33_280),
        _layer("fully_connected_3", "dense", [84], 11_088),
        _layer("output", "softmax", [10], 850),
    ]
}
"""Networks whose cards name them without listing their layers; a norm's parameters are counted with its layer."""


@dataclass(frozen=True)
class Block:
    """One layer, placed: x, y, width, height in the drawing's units."""

    kind: str
    shape: str
    parameters: int
    x: float
    y: float
    width: float
    height: float
    flat: bool


def layers(card: dict[str, Any]) -> list[dict[str, Any]]:
    """The card's own list (`layers`: name, kind, output, parameters), else that of the network it names; else none."""
    return list(card.get("layers") or KNOWN.get(str(card.get("network", "")).partition(",")[0], []))


def blocks(described: Sequence[dict[str, Any]]) -> list[Block]:
    """Place the layers from left to right."""
    placed, x = [], 0.0
    for layer in described:
        output = layer["output"]
        flat = len(output) == 1
        height = TALLEST * min(1.0, output[0] / WIDEST_MAP_PX) if not flat else TALLEST * min(1.0, math.log2(output[0]) / 8)
        width = 10.0 if flat else 8.0 + 4.5 * math.log2(output[-1] + 1)
        shape = "×".join(str(side) for side in output)
        slot = max(width, 54.0)  # room for the words below
        placed.append(
            Block(layer["kind"], shape, layer["parameters"], x + (slot - width) / 2, MIDDLE - height / 2, width, height, flat)
        )
        x += slot + GAP
    return placed
