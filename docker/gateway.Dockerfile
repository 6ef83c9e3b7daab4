# The gateway: Flask and the canvas page, no TensorFlow.  docker build -f docker/gateway.Dockerfile -t digits-gateway .
FROM python:3.12-slim AS packages
# A virtual environment without pip, filled from outside, so that the image that copies it holds no installer.
COPY requirements/web.txt /tmp/requirements.txt
RUN python -m venv --without-pip /opt/digits \
 && pip --python /opt/digits/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r /tmp/requirements.txt \
 && find /opt/digits -depth -type d -name tests -exec rm -rf {} +

# A stage of its own: a change to the code leaves every layer of packages cached.
FROM python:3.12-slim AS code
COPY digits /app/digits
COPY webapp /app/webapp
COPY docker/healthy.py /app/healthy.py
# Compiled here, because nothing can be written later; unchecked, because nothing can change either.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM python:3.12-slim
RUN rm -rf /usr/local/lib/python3.12/site-packages/pip* /usr/local/lib/python3.12/ensurepip /usr/local/bin/pip* \
 && mkdir /licenses
COPY --from=packages /opt/digits /opt/digits
COPY LICENSE /licenses/LICENSE
COPY --from=code /app /app
WORKDIR /app
# PROMETHEUS_MULTIPROC_DIR: where the workers add up their counters; compose and Kubernetes put memory there.  gunicorn's
# control socket would be a file in a home that nobody has, and nothing here speaks to it.
ENV PATH=/opt/digits/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PROMETHEUS_MULTIPROC_DIR=/tmp \
    GUNICORN_CMD_ARGS=--no-control-socket \
    DIGITS_WEB_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8080
# Ready, not only alive: compose starts what draws only when a drawing would be answered.
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=5 CMD ["python", "-IS", "/app/healthy.py", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["python", "-m", "gunicorn", "--config", "python:webapp.gunicorn_conf"]

# Last, so that a new version or commit rebuilds nothing above.
ARG VERSION=0 REVISION=unknown CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="digits gateway" \
      org.opencontainers.image.description="Recognises handwritten digits: the page and its API" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
