# syntax=docker/dockerfile:1
# Gateway, scheduler, Ray workers, model downloads and `helm test`: everything that needs no torch.
#
#   docker build --file deploy/control.Dockerfile --tag penstock-control:0.1.0 .

FROM python:3.11.13-slim-bookworm AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=0
# Debian keeps only the newest version of a package: the tag of the base image is the pin.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends binutils \
 && rm -rf /var/lib/apt/lists/* \
 && pip install --no-cache-dir uv==0.13.9 hatchling==1.33.0
WORKDIR /src
COPY pyproject.toml README.md ./
COPY services ./services
COPY kernels ./kernels
COPY loadgen ./loadgen
COPY deploy/requirements.lock deploy/slim.sh ./deploy/
RUN uv build --wheel --no-build-isolation --python /usr/local/bin/python3 --out-dir /dist . \
 && uv venv --python /usr/local/bin/python3 /opt/penstock \
 && uv pip install --no-cache --python /opt/penstock/bin/python --constraint deploy/requirements.lock --verify-hashes \
        "penstock[scheduler] @ file:///dist/penstock-0.1.0-py3-none-any.whl" \
 && sh deploy/slim.sh /opt/penstock

FROM python:3.11.13-slim-bookworm
LABEL org.opencontainers.image.title="penstock-control" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 penstock \
 && useradd --uid 10001 --gid 10001 --no-log-init --create-home --home-dir /cache penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH HOME=/cache PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /cache
ENTRYPOINT ["penstock"]
CMD ["--help"]
