"""The daemon: the verifier over HTTP. Needs the extra ``selftaught[server]``."""
