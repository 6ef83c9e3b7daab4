"""Flask + ONNX Runtime in the process."""

from __future__ import annotations

from typing import Any

import numpy as np
from flask import Flask, request

from loadtest.peers.session import Session, answer, read

app = Flask(__name__)
session = Session()


@app.post("/api/predict")
def predict() -> dict[str, Any]:
    """One picture."""
    return answer(session(read(request.get_data())[np.newaxis])[0])
