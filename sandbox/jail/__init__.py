"""How untrusted code is held: one file a mechanism. `sandbox.worker.inside.zygote` puts them in force, in order."""
