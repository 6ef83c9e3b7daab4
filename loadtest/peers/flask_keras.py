"""Flask + keras.predict in the process: the usual demo."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
from flask import Flask, request

from loadtest.peers.session import answer, read

app = Flask(__name__)
inputs = keras.Input((28, 28), dtype="uint8")
layer = keras.layers.TFSMLayer(os.environ["PEERS_MODEL"], call_endpoint="serving_default")
model = keras.Model(inputs, layer(inputs)["probabilities"])


@app.post("/api/predict")
def predict() -> dict[str, Any]:
    """One picture."""
    return answer(model.predict(read(request.get_data())[np.newaxis], verbose=0)[0])
