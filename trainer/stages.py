"""A training in stages: at the beginning of each the optimiser forgets, and the learning rate's schedule starts anew.

It gives what several trainings one after the other give, each from the model of the one before, and resumes from the
checkpoints of one training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR


def epochs(stages: str) -> list[float]:
    """Return the epochs of each stage; none for an empty text.

    Args:
        stages: The epochs, joined by ``+``, such as ``1+2+3+4``.

    Raises:
        ValueError: It is something else.
    """
    try:
        found = [float(part) for part in stages.split("+")] if stages else []
    except ValueError:
        found = [0.0]
    if any(not 0 < one < float("inf") for one in found):
        raise ValueError(f"stages={stages!r}: give the epochs of each stage, joined by +, such as 1+2+3+4")
    return found


def starts(stages: list[float], steps: int) -> list[int]:
    """Return the step at which each stage begins, from 0, of a training of so many steps."""
    whole = sum(stages)
    return [round(steps * sum(stages[:number]) / whole) for number in range(len(stages))]


def schedule(name: str, optimizer: Optimizer, warmup: Callable[[int], int], begins: list[int], steps: int) -> LambdaLR:
    """Return a schedule of the learning rate that starts anew with every stage.

    Args:
        name: Name of transformers' schedule.
        optimizer: The optimiser.
        warmup: Returns the number of warm-up steps of a stage of so many steps.
        begins: The step at which each stage begins.
        steps: Number of steps of the training.

    Raises:
        ValueError: The schedule depends on more than the step.
    """
    factors: list[Callable[[int], float]] = []
    nothing = SGD([torch.zeros(1)], lr=1.0)  # a schedule changes its optimiser when it is made
    for begin, end in zip(begins, [*begins[1:], steps], strict=True):
        size = end - begin
        one = transformers.get_scheduler(name, nothing, warmup(size), size)
        if not isinstance(one, LambdaLR):
            raise ValueError(f"lr_scheduler_type={name} can't start anew: leave out stages")
        factors.append(one.lr_lambdas[0])

    def factor(step: int) -> float:
        stage = sum(begin <= step for begin in begins) - 1
        return factors[stage](step - begins[stage])

    return LambdaLR(optimizer, factor)


class Restart(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Lets the optimiser forget at the beginning of every stage but the first.

    Args:
        stages: The epochs of each stage.
    """

    def __init__(self, stages: list[float]) -> None:
        self._stages = stages

    def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        if state.global_step in starts(self._stages, state.max_steps)[1:]:
            optimizer.state.clear()
