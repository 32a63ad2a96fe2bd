# The node (and every other command) of Vastus on a CPU. How to use it: docs/how-to-node.md. Needs BuildKit.
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE NOTICE ./
COPY src ./src
RUN python -m venv /opt/vastus \
    && /opt/vastus/bin/python -m pip install --no-cache-dir --constraint constraints.txt '.[dicom]'

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="Vastus" \
      org.opencontainers.image.description="Single thigh and hip muscles from a CT. For research only, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/vastus/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/cache/vastus/loops \
    VASTUS_CACHE_DIR=/var/cache/vastus/networks \
    MPLCONFIGDIR=/var/cache/vastus/matplotlib
# A number, so that what runs the container can see that it is not root. The folders are those of the volumes.
RUN groupadd --gid 10001 vastus \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin vastus \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data /var/cache/vastus \
    && install --directory --mode 0755 /config
# The base image has no compiled modules of Python's own library, and the user above can't write any: each command would compile
# them again.
RUN python -m compileall -q "$(python -c 'import os; print(os.path.dirname(os.__file__))')"
COPY --from=build /opt/vastus /opt/vastus
USER 10001:10001
WORKDIR /data
# Makes the network ready once and keeps it in the image (the loops were compiled by pip above), and stops the build where Vastus
# can't work. On a processor of another kind this is done anew, at the first scan.
RUN --mount=type=bind,source=examples,target=/examples \
    vastus warm \
    && vastus segment /examples/sample_scan.nii.gz -o /tmp/warm-up \
    && vastus doctor \
    && rm -r /tmp/warm-up
VOLUME ["/data", "/var/cache/vastus"]
EXPOSE 11112
STOPSIGNAL SIGTERM
# The status page listens inside the container only.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8642/metrics', timeout=5)"]
CMD ["vastus", "node", "--config", "/config/node.toml"]
