"""The confinement of untrusted code, one module for each mechanism.

`selftaught.sandbox.worker.inside.zygote` applies them in order.
"""
