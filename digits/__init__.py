"""digits: what the stages share.  The contract, preprocessing, the wire, errors, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from digits.client import PredictClient as PredictClient
    from digits.preprocess import digit_image as digit_image

__version__ = "0.1.0"
__all__ = ["PredictClient", "__version__", "digit_image"]


def __getattr__(name: str) -> Any:
    """PredictClient and digit_image, loaded when they are asked for: training needs no gRPC."""
    if name == "PredictClient":
        from digits.client import PredictClient

        return PredictClient
    if name == "digit_image":
        from digits.preprocess import digit_image

        return digit_image
    raise AttributeError(f"module 'digits' has no attribute {name!r}")
