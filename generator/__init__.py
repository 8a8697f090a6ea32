"""Asks a language model for puzzles and solutions, and keeps what is new and verified."""
