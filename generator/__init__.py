"""Generate puzzles and solutions with a language model; keep the pairs that are new and verified."""
