"""How untrusted code is held: one file a mechanism. `selftaught.sandbox.worker.inside.zygote` puts them in force, in order."""
