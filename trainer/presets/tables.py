"""The tables of a file of settings, and how a file or NAME=VALUE changes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from selftaught.generator import settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelTable:
    """``[model]``: a pretrained model.

    Attributes:
        name: A folder or name that transformers loads; GGUF too.
        package: Or an installed package that contains a model.
        batch_size: Maximum number of sequences that are sampled at once, without a server (0: 64 on a CPU, else 256).
        processes: Processes that sample from the model, without a server (0: one for each GPU, or else for each
            processor).
        context: Tokens of prompt and completion (0: what the model was trained with).
        chat: Ask in messages, with the model's chat template.
    """

    name: str = ""
    package: str = ""
    batch_size: int = 0
    processes: int = 1
    context: int = 0
    chat: bool = False


@dataclass(frozen=True, slots=True)
class LoopTable:
    """``[loop]``: what is written in an iteration.

    Attributes:
        puzzles_per_iteration: Puzzles written in an iteration.
        seeds: File of puzzles for prompts (see `selftaught generate --seeds`); empty: none.
        one_line_seeds: Only seeds of a single line: given longer ones, a small model writes what does not parse.
        bare: Prompts without seeds and few-shot examples, for a model that was trained on puzzles only.
        docstrings: Keep the docstrings of seeds.
        annotated: Write what puzzles and solutions return into their signatures, in prompts and in training texts.
        base_writes_puzzles: The base model writes the puzzles of every iteration, and the latest one solves them: a
            small model that was trained on pairs may write few puzzles that are new. Needs memory for both.
        quota_grows: The recipe's `max_per_template` is per iteration, so that the total grows with the iterations.
        evaluate_while_training: Evaluate a model while the next one is trained, which needs memory for both.
        cpu_seconds: CPU seconds for each phase of a verification.
        memory_bytes: Memory of a phase (0: the verifier's default).
        answer_bytes: Size of an encoded answer (0: the verifier's default).
        output_bytes: Size of what a phase may print (0: the verifier's default).
        launcher: Starts each training in processes of its own, such as ``accelerate launch --config_file FILE``. Empty:
            in this process, or, with a server, in one of its own, which frees the device when it ends.
        report_to: Experiment trackers that get the figures of every iteration, as in ``TrainingArguments``.
        notes: What the report says about the meaning of the figures.
    """

    puzzles_per_iteration: int = 10_000
    seeds: str = "corpus:"
    one_line_seeds: bool = False
    bare: bool = False
    docstrings: bool = False
    annotated: bool = False
    base_writes_puzzles: bool = False
    quota_grows: bool = False
    evaluate_while_training: bool = False
    cpu_seconds: float = 1.0
    memory_bytes: int = 0
    answer_bytes: int = 0
    output_bytes: int = 0
    launcher: str = ""
    report_to: str = "none"
    notes: str = ""


@dataclass(frozen=True, slots=True)
class ExamTable:
    """``[exam]``: the held-out problems that every model is evaluated on, and that no model is shown.

    Attributes:
        puzzles: A file of puzzles, or a bundled set such as ``heldout:handwritten``; or several with commas between
            them, each of which is then reported by itself too.
        split: P3's split.json; only problems under its ``test`` are taken.
        attempts: Attempts at each problem and temperature.
        temperatures: Sampling temperatures.
        max_new_tokens: Maximum number of tokens of a solution.
    """

    puzzles: str = "heldout:handwritten"
    split: str = ""
    attempts: int = 10
    temperatures: tuple[float, ...] = (0.4, 0.8)
    max_new_tokens: int = 150


@dataclass(frozen=True, slots=True)
class ServeTable:
    """``[serve]``: a server that samples from each model in turn, in place of this process.

    Attributes:
        command: Starts it: ``{model}`` is the model's folder or name, ``{port}`` a free port. Empty: no server.
        urls: Its base addresses, with commas between them; ``{port}`` as in the command.
        ready_seconds: How long it may take until it answers.
        concurrency: Requests in flight (0: the default).
    """

    command: str = ""
    urls: str = "http://127.0.0.1:{port}/v1"
    ready_seconds: float = 1800.0
    concurrency: int = 0


def updated(table: T, values: Mapping[str, Any], where: str) -> T:
    """Return a copy of a table with the values of a file.

    Args:
        table: An instance of a dataclass; fields may be dataclasses too.
        values: New values by name.
        where: The table's name, for messages.

    Raises:
        ValueError: A name is unknown, or a value has another type.
    """
    changes: dict[str, Any] = {}
    known = [field.name for field in dataclasses.fields(table)]  # type: ignore[arg-type]  # a dataclass
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"[{where}] has no setting {name!r}; it has {', '.join(known)}")
        changes[name] = _converted(getattr(table, name), value, f"{where}.{name}")
    return dataclasses.replace(table, **changes)  # type: ignore[type-var]


def _converted(old: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(old) and isinstance(value, dict):
        return updated(old, value, where)
    if isinstance(old, tuple) and isinstance(value, list) and all(isinstance(one, int | float) for one in value):
        return tuple(float(one) for one in value)
    if type(old) is float and type(value) is int:
        return float(value)
    if type(old) is not type(value):
        raise ValueError(f"{where} = {value!r}: it is of type {type(old).__name__}")
    return value


def changed(table: T, change: str, where: str) -> T:
    """Return a copy of a table, changed by NAME=VALUE; NAME may be TABLE.NAME for a table in it.

    Raises:
        ValueError: The name is unknown, or the value has another type.
    """
    first, dot, _ = change.partition("=")[0].partition(".")
    inner = getattr(table, first, None)
    if dot and dataclasses.is_dataclass(inner):
        new = changed(inner, change.partition(".")[2], f"{where}.{first}")
        return dataclasses.replace(table, **{first: new})  # type: ignore[type-var]
    if isinstance(inner, tuple):
        try:
            numbers = [float(one) for one in change.partition("=")[2].split(",")]
        except ValueError:
            raise ValueError(f"{change!r}: give numbers with commas between them") from None
        return dataclasses.replace(table, **{first: tuple(numbers)})  # type: ignore[type-var]
    return settings.changed(table, [change])
