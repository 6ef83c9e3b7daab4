#!/opt/digits/bin/python
"""The official image's entry point under its own name, without a shell: it becomes the server, so signals reach it."""

import os
import sys

server = "/usr/bin/tensorflow_model_server"
name = os.environ["MODEL_NAME"]
os.execv(server, [
    server, "--port=8500", "--rest_api_port=8501", f"--model_name={name}",
    f"--model_base_path={os.environ['MODEL_BASE_PATH']}/{name}", *sys.argv[1:],
])  # fmt: skip
