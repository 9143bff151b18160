# The service alone. It answers look-ups and trains nothing, so torch is not in it.
FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock requirements-bootstrap.lock requirements-service.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement requirements-bootstrap.lock \
 && python -m venv --without-pip /opt/lineage \
 && uv pip sync --python /opt/lineage/bin/python --require-hashes --only-binary :all: --compile-bytecode requirements-service.lock
COPY pyproject.toml README.md LICENSE ./
COPY lineage lineage
COPY service service
COPY pipelines pipelines
RUN uv build --wheel --build-constraint requirements.lock --require-hashes --out-dir dist \
 && uv pip install --python /opt/lineage/bin/python --offline --no-deps --compile-bytecode dist/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin lineage \
 && install -d -o lineage -g lineage -m 0750 /data
COPY --from=build /opt/lineage /opt/lineage
# Records are wherever LINEAGE_STORE says; objects, locks and caches are here.
ENV PATH=/opt/lineage/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp LINEAGE_FOLDER=/data
VOLUME /data
WORKDIR /data
USER lineage
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=5 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/healthz', timeout=2)"]
# Without access tokens this refuses to start and says why. docker-compose.yml opts in, beside a port that only this machine reaches.
CMD ["lineage", "serve", "--host", "0.0.0.0", "--port", "8765"]
