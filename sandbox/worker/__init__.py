"""The process that judges: a warden outside the jail, an engine, and what runs inside."""
