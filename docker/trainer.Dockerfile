# Trains and publishes: python -m training, then python -m export.  docker build -f docker/trainer.Dockerfile -t digits-trainer .
FROM python:3.12-slim AS packages
COPY requirements/train.txt /tmp/requirements.txt
# What nothing here opens goes: headers, tests and samples of others (not the packages named test: TensorFlow's API has one).
RUN python -m venv --without-pip /opt/digits \
 && pip --python /opt/digits/bin/python install --no-cache-dir --disable-pip-version-check --no-compile --require-hashes --no-deps -r /tmp/requirements.txt \
 && rm -rf /opt/digits/lib/python3.12/site-packages/tensorflow/include /opt/digits/lib/python3.12/site-packages/clang \
 && find /opt/digits -depth -type d \( -name tests -o -name sample_data \) -exec rm -rf {} +

FROM python:3.12-slim AS code
COPY digits /app/digits
COPY training /app/training
COPY export /app/export
COPY docker/retrain.py /app/retrain.py
RUN python -m compileall -q --invalidation-mode unchecked-hash /app
# Not test data but a gate: a version that does not reproduce these drawings is not published.
COPY tests/golden /app/tests/golden

FROM python:3.12-slim
RUN rm -rf /usr/local/lib/python3.12/site-packages/pip* /usr/local/lib/python3.12/ensurepip /usr/local/bin/pip* \
 && mkdir /licenses /models && mkdir -m 1777 /runs
COPY --from=packages /opt/digits /opt/digits
COPY LICENSE /licenses/LICENSE
COPY --from=code /app /app
WORKDIR /app
# HOME and the caches: the only places written to, beside /runs and /models.
ENV PATH=/opt/digits/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TF_CPP_MIN_LOG_LEVEL=2 \
    HOME=/tmp \
    KERAS_HOME=/runs/keras \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
# It runs once and ends with an exit code: there is nothing to ask in between.
HEALTHCHECK NONE
ENTRYPOINT ["python", "retrain.py"]

ARG VERSION=0 REVISION=unknown CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="digits trainer" \
      org.opencontainers.image.description="Trains the network on MNIST and publishes it as the next version" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
