# The published versions and `cp`.  docker build -f k8s/components/model-from-image/model.Dockerfile -t digits-model:dev models
FROM python:3.12-slim
COPY --chown=0:0 digits /models/digits
USER 10001:10001
HEALTHCHECK NONE
CMD ["ls", "/models/digits"]
