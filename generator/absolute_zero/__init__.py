"""The three kinds of tasks of Absolute Zero (Zhao et al. 2025, arXiv:2505.03335): self-play beside puzzles.

A model proposes a program with an input, or inputs for a program; the verifier runs them, and keeps what is
deterministic. The model then predicts the output (deduction), finds an input (abduction, which is what a puzzle asks),
or writes the program for pairs of inputs and outputs of which it sees half (induction).

    triplet.py      a program, its inputs and outputs
    proposing.py    what the model is asked for, and how its proposals are read
    checking.py     outputs of proposals, by the verifier
    problem.py      a task of one kind: prompt, reading of the answer, and what judges it
    play.py         waves of proposing, checking and solving, in a folder
    command.py      `selftaught self-play`
"""
