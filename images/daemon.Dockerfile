# The image of the daemon, which also holds the command. Build it at the repository's root (make images).
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
ARG WHEEL
# Without a package index: PIP_NO_INDEX=1 and PIP_FIND_LINKS=/wheels, and in out/wheels what the wheel needs.
ARG PIP_NO_INDEX=
ARG PIP_FIND_LINKS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY images/requirements.txt constraints.txt dist/${WHEEL} out/wheels* /wheels/
# With the exec form a base without a shell will do.
RUN ["python3", "-m", "venv", "--without-pip", "/opt/selftaught"]
RUN ["python3", "-m", "pip", "--python=/opt/selftaught/bin/python", "install", "--constraint=/wheels/constraints.txt", \
     "--requirement=/wheels/requirements.txt"]
RUN ["/opt/selftaught/bin/python", "-c", "import pyseccomp"]

FROM ${BASE}
ARG VERSION
ARG REVISION
LABEL selftaught.version=${VERSION} \
    org.opencontainers.image.title="selftaught" \
    org.opencontainers.image.description="Judges programs written by language models: daemon and command" \
    org.opencontainers.image.version=${VERSION} \
    org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.source="https://github.com/selftaught-verifier/selftaught" \
    org.opencontainers.image.documentation="https://selftaught-verifier.github.io/selftaught/" \
    org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/selftaught /opt/selftaught
ENV PATH=/opt/selftaught/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
ENTRYPOINT ["selftaught"]
# In an unprivileged container `restricted` is the level that can be reached. The token is mounted, never part of the
# image.
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--token-file", "/run/secrets/selftaught-token", \
     "--require", "restricted"]
