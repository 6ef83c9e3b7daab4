#!/bin/sh
# Locks with hashes and without addresses: `make lock`.  Every set holds the versions of dev.txt.
set -eu
compile="uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate pyproject.toml"
# The embedded server loads TensorFlow's C library and never the Python package, whose own dependencies it can do without.
python_side="absl-py astunparse flatbuffers gast google-pasta h5py keras libclang markdown markdown-it-py mdurl ml-dtypes namex opt-einsum
 optree pygments requests rich setuptools six tensorboard tensorboard-data-server termcolor urllib3 wheel wrapt certifi charset-normalizer idna"
without=$(for name in $python_side; do printf ' --no-emit-package %s' "$name"; done)

$compile --extra dev --extra load -o requirements/dev.txt
for extra in web train load; do $compile --extra "$extra" -c requirements/dev.txt -o "requirements/$extra.txt"; done
$compile --extra serve -c requirements/dev.txt $without -o requirements/serve.txt
$compile --extra web --extra otel -c requirements/dev.txt -o requirements/otel.txt
$compile --extra web --extra serve -c requirements/dev.txt $without -o requirements/run.txt
# Beside the others, in an environment of its own: checkov pins ninety packages for itself.
echo "checkov>=3.2" | ${compile% pyproject.toml} - -o requirements/policy.txt
$compile --extra peers -c requirements/dev.txt -o requirements/peers.txt
