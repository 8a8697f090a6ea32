"""The learning loop: fine-tune a model on its own verified puzzles, and measure what it learnt."""
