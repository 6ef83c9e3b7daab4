"""FastAPI + ONNX Runtime in the process, without a thread pool: the quickest of its forms for work of a millisecond."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import FastAPI, Request

from loadtest.peers.session import Session, answer, read

app = FastAPI()
session = Session()


@app.post("/api/predict")
async def predict(request: Request) -> dict[str, Any]:
    """One picture."""
    return answer(session(read(await request.body())[np.newaxis])[0])
