# LLM Gateway as an image: docs/deployment.md. Every step is a script, which tests/e2e/test_image.py runs without an engine.
#
#   docker build --tag llmgateway .
#   docker build --secret id=pip.conf,src=pip.conf .      # another index, proxy or authority; it stays out of the image
#   docker build --build-arg BASE=python@sha256:… .       # the base by digest

ARG BASE=python:3.12.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
# Apart from the gateway itself, so that a change of its code does not install everything again.
COPY requirements/runtime.txt requirements/runtime.txt
COPY scripts/image/requirements.sh scripts/image/requirements.sh
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    scripts/image/requirements.sh /opt/llmgateway
COPY requirements/build.txt requirements/build.txt
COPY scripts/image/packages.sh scripts/image/packages.sh
COPY LICENSE README.md pyproject.toml ./
COPY clients/python clients/python
COPY server server
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    scripts/image/packages.sh /opt/llmgateway

FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="LLM Gateway" \
      org.opencontainers.image.description="LLM Gateway: one typed gRPC contract in front of every LLM provider" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
RUN --mount=type=bind,source=scripts/image/trim.sh,target=/src/trim.sh \
    /src/trim.sh /usr/local
COPY --from=build /opt/llmgateway /opt/llmgateway
COPY scripts/image/health.py /opt/llmgateway/health.py
COPY deploy/image.yaml /etc/llmgateway/gateway.yaml
ENV PATH=/opt/llmgateway/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1
# A number, so that an orchestrator can see that it is not root; everything above belongs to root, so it may write nowhere.
USER 10001:10001
WORKDIR /
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["/opt/llmgateway/bin/python", "-IS", "/opt/llmgateway/health.py"]
# Exec form: the process gets the signals itself.
ENTRYPOINT ["/opt/llmgateway/bin/llmgateway"]
CMD ["serve", "--config", "/etc/llmgateway/gateway.yaml"]
