"""The worker process: a supervisor outside the jail, an engine, and the jailed processes."""
