"""The examples of /docs; a test runs every one of them."""

from __future__ import annotations

from dataclasses import dataclass

from digits.settings import WebSettings


@dataclass(frozen=True)
class Snippet:
    """A short program.  It reads digit.png in its folder and prints the digit."""

    name: str
    title: str
    code: str


def snippets(origin: str, settings: WebSettings) -> list[Snippet]:
    """The examples for this gateway.  origin: its own address as the caller knows it."""
    target = settings.model_target
    return [
        Snippet("curl", "curl", f"curl --data-binary @digit.png {origin}/api/predict"),
        Snippet(
            "grpcurl",
            "grpcurl, to the model server itself",
            f"curl -sO {origin}/serving.protoset\n"
            "grpcurl -plaintext -protoset serving.protoset -d @ \\\n"
            f"  {target} tensorflow.serving.PredictionService/Predict <<EOF\n"
            f'{{"model_spec": {{"name": "{settings.model_name}", "signature_name": "drawings"}},\n'
            ' "inputs": {"image_bytes": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": 1}]},\n'
            '                           "string_val": ["$(base64 -w0 digit.png)"]}}}\nEOF',
        ),
        Snippet(
            "python",
            "Python, with TensorFlow Serving’s own API",
            "import grpc\n"
            "import tensorflow as tf\n"
            "from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc\n\n"
            f'channel = grpc.insecure_channel("{target}")\n'
            "stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)\n"
            "request = predict_pb2.PredictRequest()\n"
            f'request.model_spec.name = "{settings.model_name}"\n'
            'request.model_spec.signature_name = "drawings"\n'
            'drawing = tf.make_tensor_proto([open("digit.png", "rb").read()])\n'
            'request.inputs["image_bytes"].CopyFrom(drawing)\n'
            "answer = stub.Predict(request, timeout=10)\n"
            'print(tf.make_ndarray(answer.outputs["digit"])[0])',
        ),
        Snippet(
            "javascript",
            "JavaScript",
            'import { readFile } from "node:fs/promises";\n\n'
            'const body = await readFile("digit.png"); // or a canvas’s blob\n'
            f'const answer = await fetch("{origin}/api/predict", {{ method: "POST", body }});\n'
            "console.log((await answer.json()).digit);",
        ),
    ]
