# syntax=docker/dockerfile:1
# The same steps as `make setup`: hashed requirements, then the package without its dependencies.
FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/lineside
COPY requirements.txt .
RUN /opt/lineside/bin/pip install --require-hashes -r requirements.txt
COPY pyproject.toml README.md ./
COPY drivers drivers
COPY gateway gateway
COPY simulators simulators
COPY config config
RUN /opt/lineside/bin/pip install --no-deps --no-build-isolation .
RUN /opt/lineside/bin/python -P -m simulators.opcua.standard_nodes

FROM python:3.11-slim
LABEL org.opencontainers.image.title="Lineside" \
      org.opencontainers.image.description="The telemetry gateway of a smart factory"
RUN useradd --system --uid 10001 --home-dir /var/lib/lineside --create-home lineside
COPY --from=build /opt/lineside /opt/lineside
ENV PATH=/opt/lineside/bin:$PATH PYTHONUNBUFFERED=1
USER lineside
WORKDIR /var/lib/lineside
VOLUME /var/lib/lineside
# the gateway and ingest touch this file every second while their event loop runs
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["lineside", "health", "/var/lib/lineside"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["lineside"]
CMD ["--help"]
