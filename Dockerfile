# Good Standing in one image. Run as it is, it is the whole product with SQLite in /data (docs/deployment.md); compose.yaml
# runs its processes one by one with PostgreSQL and Redis.

# The Python that the test suite runs on, on Debian 13.
ARG PYTHON_VERSION=3.11.17

# --- the locked packages, as wheels only: nothing is compiled, so no compiler is needed anywhere ---
FROM python:${PYTHON_VERSION}-slim-trixie AS packages
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock ./
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock

# --- what runs ---
FROM python:${PYTHON_VERSION}-slim-trixie
LABEL org.opencontainers.image.title="Good Standing" \
      org.opencontainers.image.licenses="Apache-2.0"
# pg_dump and pg_restore for `manage.py backup`; they must not be older than the server, so compose.yaml has PostgreSQL 17.
# Debian's fixes of it are wanted, hence no version beyond that.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 standing \
    && useradd --uid 10001 --gid standing --no-create-home --home-dir /data --shell /usr/sbin/nologin standing \
    && install --directory --owner=standing --group=standing --mode=0700 /data /metrics \
    && python -m pip uninstall --yes pip setuptools wheel
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY LICENSE Procfile manage.py ./
COPY telemetry telemetry
COPY reputation reputation
COPY dashboard dashboard
COPY reputation_site reputation_site
COPY static static
COPY templates templates
# Compiled here, because whoever runs it may not write beside the code; readable for them, whatever the checkout's modes.
RUN /opt/venv/bin/python -m compileall -q telemetry reputation dashboard reputation_site \
    && chmod --recursive a+rX /app
# Who may reach a listening process of a container is decided by what is published, so they listen everywhere in it.
ENV PATH="/opt/venv/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GS_DATA_DIR=/data \
    GS_HOST=0.0.0.0 \
    GS_POLICYD_LISTEN=0.0.0.0:10031 \
    GS_SOCKETMAP_LISTEN=0.0.0.0:10032
# By number, so that an orchestrator can see that it is not root. Only /data, /tmp and, in compose, /metrics are written to.
USER 10001:10001
EXPOSE 8000 10031 10032
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-m", "reputation_site.probe", "web"]
CMD ["python", "manage.py", "serve"]
