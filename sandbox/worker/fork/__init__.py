"""The fork engine: every phase is a fork of the warm interpreter."""
