"""The snapshot engine: one warm process, put back bit for bit after every phase."""
