"""The fork engine: each phase runs in a new fork of the zygote."""
