# Two images. `service` answers look-ups and trains nothing, so torch is not in it. `worker` runs what was recorded, so it is.
#
#   docker build --target service --tag dataset-lineage-service:0.1.0 .
#   docker build --target worker --tag dataset-lineage-worker:0.1.0 .
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements-bootstrap.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement requirements-bootstrap.lock
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY lineage lineage
COPY service service
COPY pipelines pipelines
RUN uv build --wheel --build-constraint requirements.lock --require-hashes --out-dir dist

FROM build AS build-service
COPY requirements-service.lock ./
RUN python -m venv --without-pip /opt/lineage \
 && uv pip sync --python /opt/lineage/bin/python --require-hashes --only-binary :all: --compile-bytecode requirements-service.lock \
 && uv pip install --python /opt/lineage/bin/python --offline --no-deps --compile-bytecode dist/*.whl

FROM build AS build-worker
COPY requirements-worker.lock requirements-build.lock ./
# One package of DVC's is published as source only.
RUN python -m venv --without-pip /opt/lineage \
 && uv pip sync --python /opt/lineage/bin/python --require-hashes --only-binary :all: --no-binary antlr4-python3-runtime \
    --build-constraints requirements-build.lock --compile-bytecode requirements-worker.lock \
 && uv pip install --python /opt/lineage/bin/python --offline --no-deps --compile-bytecode dist/*.whl \
 && cp "$(command -v uv)" /opt/lineage/bin/uv

FROM python:3.11-slim-bookworm AS base
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin lineage \
 && install -d -o lineage -g lineage -m 0750 /data
# Records are wherever LINEAGE_STORE says; objects, locks, jobs and caches are here.
ENV PATH=/opt/lineage/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp LINEAGE_FOLDER=/data
VOLUME /data
WORKDIR /data

FROM base AS worker
# git checks recorded code out, bubblewrap keeps it in a sandbox. Debian keeps one version of each, which changes with every correction.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends bubblewrap git \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-worker /opt/lineage /opt/lineage
# Rebuilt environments are linked from uv's cache, which has to be on the same disk.
ENV UV_CACHE_DIR=/data/cache/uv LINEAGE_CACHE=/data/cache/packages
USER 10001
# At the first SIGTERM it hands back the job that it has.
CMD ["lineage", "worker"]

# The last one is what `docker build` makes without --target.
FROM base AS service
COPY --from=build-service /opt/lineage /opt/lineage
USER 10001
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=5 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=2)"]
# Without access tokens this refuses to start and says why; docker-compose.yml says how the first one is made.
CMD ["lineage", "serve", "--host", "0.0.0.0", "--port", "8765"]
