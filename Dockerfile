# syntax=docker/dockerfile:1
# Two images: `gateway`, the default, for gateway and ingest in a plant; `simulators` for trials, with the simulated
# machines and the demo.
#
#   docker build -t lineside .
#   docker build -t lineside-simulators --target simulators .
#
# A tag can change. To pin the base by its digest, look the digest up and build with it:
#
#   docker buildx imagetools inspect python:3.11.14-slim-bookworm
#   docker build --build-arg BASE=python:3.11.14-slim-bookworm@sha256:DIGEST -t lineside .
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/lineside
COPY requirements.txt .
RUN /opt/lineside/bin/pip install --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY drivers drivers
COPY gateway gateway
COPY simulators simulators
COPY config config
RUN /opt/lineside/bin/python -m hatchling build --target wheel --directory /wheels

FROM wheel AS simulators-environment
RUN /opt/lineside/bin/pip install --no-deps /wheels/lineside-*.whl
RUN /opt/lineside/bin/python -P -m simulators.opcua.standard_nodes

FROM ${BASE} AS gateway-environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/lineside
COPY requirements-service.txt .
RUN /opt/lineside/bin/pip install --require-hashes -r requirements-service.txt
COPY --from=wheel /wheels /wheels
RUN /opt/lineside/bin/pip install --no-deps /wheels/lineside-*.whl \
 && cd /opt/lineside/lib/python3.*/site-packages \
 && rm -r simulators gateway/demo \
 && sed -i -E '/^(simulators|gateway\/demo)\//d' lineside-*.dist-info/RECORD \
 && /opt/lineside/bin/pip uninstall --yes pip setuptools

FROM ${BASE} AS base
RUN useradd --system --uid 10001 --home-dir /var/lib/lineside --create-home lineside
COPY --chmod=0755 deploy/container/health /usr/local/bin/lineside-health
ENV PATH=/opt/lineside/bin:$PATH PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1
USER 10001
WORKDIR /var/lib/lineside
VOLUME /var/lib/lineside
STOPSIGNAL SIGTERM
ENTRYPOINT ["lineside"]
CMD ["--help"]

FROM base AS simulators
LABEL org.opencontainers.image.title="Lineside simulators" \
      org.opencontainers.image.description="Simulated machines and the demo of Lineside" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=simulators-environment /opt/lineside /opt/lineside

FROM base AS gateway
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Lineside" \
      org.opencontainers.image.description="The telemetry gateway of a smart factory" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
COPY --from=gateway-environment /opt/lineside /opt/lineside
COPY LICENSE NOTICE /usr/share/doc/lineside/
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["lineside-health"]
