# The image of a worker's container: a Python, and the part of selftaught that runs inside. Build it at the
# repository's root (make images).
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
ARG WHEEL
COPY images/requirements.txt dist/${WHEEL} /wheels/
# With the exec form a base without a shell will do.
RUN ["python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", \
     "--root-user-action=ignore", "--target=/opt/selftaught", "--requirement=/wheels/requirements.txt"]

FROM ${BASE}
ARG VERSION
ARG REVISION
LABEL selftaught.version=${VERSION} \
    org.opencontainers.image.title="selftaught-worker" \
    org.opencontainers.image.description="A container in which selftaught judges programs written by language models" \
    org.opencontainers.image.version=${VERSION} \
    org.opencontainers.image.revision=${REVISION} \
    org.opencontainers.image.source="https://github.com/selftaught-verifier/selftaught" \
    org.opencontainers.image.documentation="https://selftaught-verifier.github.io/selftaught/" \
    org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/selftaught/selftaught/__init__.py /opt/selftaught/selftaught/
COPY --from=build /opt/selftaught/selftaught/sandbox /opt/selftaught/selftaught/sandbox
# Compile now: the root is read-only later.
RUN ["python3", "-m", "compileall", "-q", "/opt/selftaught"]
USER 65534:65534
WORKDIR /
ENV PYTHONHASHSEED=0
# The container backend starts the supervisor with options of its own; by hand, this shows that the image works.
CMD ["python3", "-P", "-S", "-c", \
     "import sys; sys.path.append('/opt/selftaught'); import selftaught; print(selftaught.__version__)"]
