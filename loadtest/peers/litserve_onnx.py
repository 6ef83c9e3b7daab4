"""LitServe + ONNX Runtime, with its dynamic batching.  `python -m loadtest.peers.litserve_onnx PORT`."""

import sys
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body

from loadtest.peers.session import Session, answer, read


class Digits(litserve.LitAPI):  # type: ignore[misc]
    """One picture a request, up to 16 in a batch."""

    def setup(self, device: str) -> None:
        self.session = Session()

    # LitServe looks at the annotation itself (so it must not be a string), and pickles what it is given for its workers
    def decode_request(self, request: Annotated[bytes, Body()]) -> Any:
        return read(request)

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self.session(x)

    def unbatch(self, output: Any) -> Any:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return answer(output)


if __name__ == "__main__":
    api = Digits(max_batch_size=16, batch_timeout=0.001, api_path="/api/predict")
    litserve.LitServer(api, accelerator="cpu", workers_per_device=2).run(
        port=int(sys.argv[1]), num_api_servers=2, generate_client_file=False
    )
