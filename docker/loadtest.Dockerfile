# Locust: master, worker, or both in one.  docker build -f docker/loadtest.Dockerfile -t digits-loadtest .
FROM python:3.12-slim AS packages
COPY requirements/load.txt /tmp/requirements.txt
RUN python -m venv --without-pip /opt/digits \
 && pip --python /opt/digits/bin/python install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r /tmp/requirements.txt \
 && find /opt/digits -depth -type d -name tests -exec rm -rf {} +

FROM python:3.12-slim AS code
COPY digits /app/digits
COPY loadtest /app/loadtest
COPY docker/healthy.py /app/healthy.py
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM python:3.12-slim
RUN rm -rf /usr/local/lib/python3.12/site-packages/pip* /usr/local/lib/python3.12/ensurepip /usr/local/bin/pip* \
 && mkdir /licenses
COPY --from=packages /opt/digits /opt/digits
COPY LICENSE /licenses/LICENSE
COPY --from=code /app /app
WORKDIR /app
ENV PATH=/opt/digits/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 10001:10001
EXPOSE 8089 5557
# The master's page; a worker has none and switches the check off (docker-compose.yml).
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=5 CMD ["python", "-IS", "/app/healthy.py", "http://127.0.0.1:8089/"]
ENTRYPOINT ["python", "-m", "locust", "-f", "/app/loadtest/locustfile.py"]

ARG VERSION=0 REVISION=unknown CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="digits load test" \
      org.opencontainers.image.description="Locust users that draw digits at the gateway" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
