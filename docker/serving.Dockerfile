# The embedded model server in the place of tensorflow/serving: same ports, flags, environment and entry point.
# docker build -f docker/serving.Dockerfile -t digits-serving .
FROM python:3.12-slim AS packages
COPY requirements/serve.txt /tmp/requirements.txt
# strip is needed in this stage only, and a Debian release keeps one version of it at a time: nothing to pin.
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
# Of TensorFlow only its two C libraries and the notices are ever opened: 0.4 GiB of Python, headers and protos stay behind,
# and so do 0.2 GiB of symbols that only a debugger reads.
RUN python -m venv --without-pip /opt/digits \
 && pip --python /opt/digits/bin/python install --no-cache-dir --disable-pip-version-check --no-compile --require-hashes --no-deps -r /tmp/requirements.txt \
 && find /opt/digits/lib/python3.12/site-packages/tensorflow -type f ! -name 'libtensorflow_*.so.2' ! -name 'THIRD_PARTY_NOTICES.txt' -delete \
 && find /opt/digits/lib/python3.12/site-packages/tensorflow -depth -type d -empty -delete \
 && strip --strip-unneeded /opt/digits/lib/python3.12/site-packages/tensorflow/libtensorflow_*.so.2 \
 && find /opt/digits -depth -type d -name tests -exec rm -rf {} + \
 && python -m compileall -q /opt/digits

FROM python:3.12-slim AS code
COPY digits /app/digits
COPY serving /app/serving
COPY docker/healthy.py /app/healthy.py
RUN python -m compileall -q --invalidation-mode unchecked-hash /app
COPY docker/tensorflow_model_server docker/tf_serving_entrypoint.sh /usr/bin/
RUN chmod 755 /usr/bin/tensorflow_model_server /usr/bin/tf_serving_entrypoint.sh

FROM python:3.12-slim
RUN rm -rf /usr/local/lib/python3.12/site-packages/pip* /usr/local/lib/python3.12/ensurepip /usr/local/bin/pip* \
 && mkdir /licenses /models
COPY --from=packages /opt/digits /opt/digits
COPY LICENSE /licenses/LICENSE
COPY --from=code /usr/bin/tensorflow_model_server /usr/bin/tf_serving_entrypoint.sh /usr/bin/
COPY --from=code /app /app
WORKDIR /app
# MODEL_NAME, MODEL_BASE_PATH: the official image's, with its defaults.
ENV PATH=/opt/digits/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TF_CPP_MIN_LOG_LEVEL=1 \
    MODEL_BASE_PATH=/models \
    MODEL_NAME=model
USER 10001:10001
EXPOSE 8500 8501
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=5 CMD ["python", "-IS", "/app/healthy.py", "http://127.0.0.1:8501/v1/models/$MODEL_NAME", "AVAILABLE"]
ENTRYPOINT ["/usr/bin/tf_serving_entrypoint.sh"]

ARG VERSION=0 REVISION=unknown CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="digits model server" \
      org.opencontainers.image.description="Serves SavedModels by TensorFlow Serving's gRPC and REST API" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
