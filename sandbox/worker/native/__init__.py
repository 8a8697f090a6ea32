"""The C code, its loader, and the state that C and Python share."""
