# The image of a worker's container: a Python, and the part of selftaught that runs inside. Build it at the repository's root (make images).
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG VERSION
LABEL selftaught.version=${VERSION}
COPY selftaught/__init__.py /opt/selftaught/selftaught/
COPY sandbox /opt/selftaught/selftaught/sandbox
# The accelerator and the codec, where `make images` could build them.
COPY sandbox/worker/native/*.[ch] out/accelerator* /opt/selftaught/selftaught/sandbox/worker/native/
COPY sandbox/py.typed out/codec* /opt/selftaught/selftaught/sandbox/
# Compiled now, for the root is read-only later. With the exec form a base without a shell will do.
RUN ["python3", "-m", "compileall", "-q", "/opt/selftaught"]
USER 65534:65534
WORKDIR /
ENV PYTHONHASHSEED=0
# The container backend starts the supervisor with options of its own; by hand, this shows that the image works.
CMD ["python3", "-P", "-S", "-c", "import sys; sys.path.append('/opt/selftaught'); import selftaught; print(selftaught.__version__)"]
