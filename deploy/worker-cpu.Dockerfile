# syntax=docker/dockerfile:1
# Prefill, decode and mixed workers on CPUs; also makes the built-in model.
#
#   docker build --file deploy/worker-cpu.Dockerfile --tag penstock-worker:0.1.0-cpu --build-arg TORCH_WHEELS=URL .
#
# URL: PyTorch's page of torch's CPU wheels, or a folder of the build context that holds the one the lock file names.

FROM python:3.11.13-slim-bookworm AS build
ARG TORCH_WHEELS
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=0
RUN pip install --no-cache-dir uv==0.13.9 hatchling==1.33.0
WORKDIR /src
COPY pyproject.toml README.md ./
COPY services ./services
COPY kernels ./kernels
COPY loadgen ./loadgen
COPY deploy/requirements.lock ./deploy/
RUN uv build --wheel --no-build-isolation --python /usr/local/bin/python3 --out-dir /dist . \
 && uv venv --python /usr/local/bin/python3 /opt/penstock \
 && uv pip install --no-cache --python /opt/penstock/bin/python --constraint deploy/requirements.lock --verify-hashes \
        --find-links "${TORCH_WHEELS:?pass --build-arg TORCH_WHEELS=, the page of CPU wheels of torch}" \
        "penstock[engine,ucx] @ file:///dist/penstock-0.1.0-py3-none-any.whl"

FROM python:3.11.13-slim-bookworm
LABEL org.opencontainers.image.title="penstock-worker" org.opencontainers.image.licenses="Apache-2.0"
# Debian keeps only the newest version of a package: the tag of the base image is the pin.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 libibverbs1 librdmacm1 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 penstock \
 && useradd --uid 10001 --gid 10001 --no-log-init --create-home --home-dir /cache penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH HOME=/cache PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /cache
ENTRYPOINT ["penstock"]
CMD ["--help"]
