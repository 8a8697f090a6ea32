"""The process that judges: a supervisor outside the jail, an engine, and what runs inside."""
