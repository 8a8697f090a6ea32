"""The extended kinds of plain data: part of `selftaught.sandbox.codec`, which has their format."""
