"""The command `selftaught evaluate`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from selftaught.generator.options import MODEL_OPTIONS, load_model, model_options
from selftaught.sandbox.interruption import exit_code, heed_sigterm
from selftaught.sandbox.options import (
    COMPARE,
    OK,
    REQUIRE,
    SOME_UNJUDGED,
    WORKERS,
    Unusable,
    elsewhere,
    format_option,
    no_link,
    open_verifier,
)
from selftaught.sandbox.output import descriptor
from selftaught.sandbox.progress import Progress, is_shown

if TYPE_CHECKING:
    from selftaught.trainer.problems import Selection
    from selftaught.trainer.results import Result, ResultsFile

_OF_PUZZLES = ("puzzles", "split", "instances")
_OF_A_DATASET = ("form", "compare")
_OF_A_MODEL = (
    "split", "instances", "attempts", "temperatures", "max_new_tokens", "bare", "annotated", "seed", *MODEL_OPTIONS,
)  # fmt: skip
"""Parameters that given samples have no use for."""
_NEW_TOKENS, _NEW_TOKENS_OF_A_BENCHMARK, _NEW_TOKENS_IN_CHAT = 150, 512, 1024
_NAMED = 5


@click.command()
@click.argument("model_name", metavar="[MODEL]", required=False)
@click.option("--puzzles", default="heldout:handwritten", show_default=True, metavar="FILE",
              help="heldout:handwritten, heldout:oneliners, heldout:machine (bundled), P3's puzzles.json, or any file "
              "of records with a field `sat` or `puzzle`. With --samples also problems of a dataset.")  # fmt: skip
@click.option("--benchmark", metavar="FILE",
              help="Instead of puzzles: problems of a published dataset in its own fields, such as HumanEval.jsonl.gz. "
              "Prompts are made as its authors make them.")  # fmt: skip
@format_option("Format of the benchmark; with --samples of their problems.")
@COMPARE
@click.option("--split", metavar="FILE", help="P3's split.json: evaluate its test problems only.")
@click.option("--every-instance/--first-instance", "instances", default=None,
              help="All puzzles, or only the first of those that are instances of one problem.  [default: the first of "
              "P3's, all of any other file]")  # fmt: skip
@click.option("-n", "attempts", type=click.IntRange(1), default=20, show_default=True, help="Attempts at each puzzle.")
@click.option("-T", "temperatures", type=click.FloatRange(0), multiple=True, default=(0.8,), show_default=True,
              help="May be repeated.")  # fmt: skip
@click.option("--max-new-tokens", "--new-tokens", type=click.IntRange(1),
              help=f"Most tokens of an attempt.  [default: {_NEW_TOKENS}; {_NEW_TOKENS_OF_A_BENCHMARK} of a benchmark; "
              f"{_NEW_TOKENS_IN_CHAT:,} in a chat]",
              )  # fmt: skip
@click.option("--bare", is_flag=True, help="No few-shot examples in the prompt, for a model trained on puzzles only.")
@click.option("--annotated", is_flag=True,
              help="Ask for solutions with the type of the answer in their signature: def g(...) -> List[int].",
              )  # fmt: skip
@model_options
@click.option("--samples", metavar="FILE",
              help="Score these samples instead of asking a MODEL: records with the id of a puzzle and `solution` or "
              "`completion`, as for `selftaught verify --samples`.")  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), callback=no_link,
              help="The results: a line for each problem and temperature, or for each sample, written as they come. No "
              "symbolic link.")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Continue an interrupted output, or one to whose samples more were added. Only what was refused, or "
              "not judged by a fault, is asked or judged again.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--cpu-limit", type=float, default=1.0, show_default=True,
              help="CPU seconds for each of the two phases. Of a dataset's problems by default what its judge allows.",
              )  # fmt: skip
@WORKERS
@elsewhere
@REQUIRE
@click.option("--quiet", is_flag=True, help="Show no progress.")
def evaluate(model_name: str | None, output: Path, **options: Any) -> None:
    """Measure how well MODEL solves held-out puzzles, or a benchmark: unbiased Pass@k with n, T and an interval over
    problems.

    MODEL is a folder or a name that transformers loads, tiny:FOLDER, or http://host:port/v1#NAME (a key is read from
    OPENAI_API_KEY). Problems that a trivial answer solves are reported separately. A prompt that the model refuses, for
    instance since it is too long, is reported apart, and is no wrong answer. With --samples there is no MODEL: samples
    that you already have are scored. `selftaught compare` compares two results.

    A --benchmark is a file that you have: HumanEval, HumanEval+, MBPP, MBPP+, APPS, TACO, CodeContests, LiveCodeBench,
    KodCode, LeetCode and others, as for `selftaught verify --samples`. Each problem is judged by its tests.

    \b
    Examples:
      selftaught evaluate tiny:out/tiny/iterations/3/model --bare --puzzles heldout:machine -o tiny.jsonl
      selftaught evaluate MODEL --puzzles puzzles.json --split split.json -n 100 -o p3.jsonl
      selftaught evaluate MODEL --benchmark HumanEval.jsonl.gz -T 0.2 -o humaneval.jsonl
      selftaught evaluate MODEL --benchmark mbpp.jsonl --chat -n 1 -T 0 -o mbpp.jsonl
      selftaught evaluate http://127.0.0.1:8000/v1#NAME --chat -n 10 -o chat.jsonl --resume
      selftaught evaluate --samples samples.jsonl --puzzles mine.jsonl -o scored.jsonl
      selftaught evaluate --samples samples.jsonl --benchmark HumanEval.jsonl.gz -o scored.jsonl

    \b
    Exit code: 0 every attempt was judged; 1 some were not: refused prompts, records that are no problems, samples
    without a problem, failures of the verifier; 2 wrong usage, or model, files or confinement level not available;
    130 interrupted, 143 terminated: --resume continues.
    """
    from selftaught.generator.models import ModelFailed
    from selftaught.sandbox.batch import Mismatch
    from selftaught.sandbox.records import Unreadable
    from selftaught.trainer.results import check

    _check(model_name, output, options)
    heed_sigterm()
    run = _Run(output, options)
    try:
        check(output, options["resume"] or options["force"])  # before a model is loaded
        sys.exit(run.ask(model_name) if model_name else run.score())
    except (ModelFailed, Unreadable, Mismatch, ValueError, OSError) as error:
        raise Unusable(f"{error}{run.how_to_go_on()}") from error
    except KeyboardInterrupt as stop:
        click.echo(f"interrupted{run.how_to_go_on()}", err=True)
        sys.exit(exit_code(stop))


def _check(model_name: str | None, output: Path, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other. Raises click.UsageError."""
    given = {name for name in options if _is_given(name)}
    if (model_name is None) == (options["samples"] is None):
        raise click.UsageError("name a MODEL, or give --samples FILE, and not both")
    if options["samples"] and (wrong := [name for name in _OF_A_MODEL if name in given]):
        raise click.UsageError(f"--samples are there already: leave out {_named(wrong)}, which is for a MODEL")
    if options["benchmark"] and (wrong := [name for name in _OF_PUZZLES if name in given]):
        raise click.UsageError(f"with --benchmark leave out {_named(wrong)}, which is for puzzles")
    if not options["benchmark"] and not options["samples"] and (wrong := [n for n in _OF_A_DATASET if n in given]):
        raise click.UsageError(f"{_named(wrong)} is for --benchmark or --samples")
    if options["resume"] and descriptor(output) is not None:
        raise click.UsageError("--resume needs an output file: -o OUT")


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _named(parameters: list[str]) -> str:
    """Return the options of parameters, as a user writes them."""
    options = {one.name: one.opts[0] for one in click.get_current_context().command.params}
    return ", ".join(options[name] for name in parameters)


class _Run:
    """One evaluation: its output, its progress, and what is said at the end."""

    def __init__(self, output: Path, options: dict[str, Any]) -> None:
        self._output, self._options = output, options
        self._results: dict[tuple[str, float | None, int], Result] = {}
        self._statuses: Counter[str] = Counter()

    def how_to_go_on(self) -> str:
        """Return how to go on with an evaluation that ends early, if it has results."""
        if not self._results or descriptor(self._output) is not None:
            return ""
        return f"\n{self._output} has {len(self._results):,} results: the same command with --resume continues"

    def ask(self, model_name: str) -> int:
        """Evaluate a model; return the exit code."""
        from selftaught.generator import prompts
        from selftaught.generator.models import chats
        from selftaught.sandbox import Limits
        from selftaught.trainer import evaluation, problems

        options = self._options
        selection = self._selection()
        _say(selection.omissions.lines())
        model = _model(model_name, options)
        chat = chats(model)
        of_texts = _NEW_TOKENS_OF_A_BENCHMARK if options["benchmark"] else _NEW_TOKENS
        new_tokens = options["max_new_tokens"] or (_NEW_TOKENS_IN_CHAT if chat else of_texts)
        limits = Limits(cpu_seconds=selection.cpu_seconds or options["cpu_limit"])
        settings = self._settings(model, selection, new_tokens, limits.cpu_seconds)
        asked, number = selection.problems, options["attempts"]
        with open_verifier(options, limits) as judge, self._file(settings) as file:
            style = prompts.BARE if options["bare"] else prompts.Style()
            style = replace(style, annotated=options["annotated"])
            cache = evaluation.VerdictCache(judge)
            sources = {problem.id: problem.source for problem in asked}
            for result in self._earlier(file):
                cache.add(sources[result.id], result.solutions)
            asked = problems.mark_trivial(asked, judge)
            total = len(asked) * len(options["temperatures"]) * number
            with self._progress(total, "attempts") as progress:
                for temperature in options["temperatures"]:
                    evaluation.attempt(
                        model,
                        asked,
                        cache,
                        self._on_result(file, progress),
                        attempts=number,
                        temperature=temperature,
                        max_new_tokens=new_tokens,
                        style=style,
                        seed=options["seed"],
                        done={
                            one.id
                            for one in self._results.values()
                            if one.temperature == temperature and not one.to_repeat
                        },
                    )
        if cut := getattr(model, "cut", 0):
            _say([f"{cut:,} completions ended at {new_tokens:,} tokens: --max-new-tokens allows more"])
        return self._end(progress, selection.malformed > 0)

    def _selection(self) -> Selection[Any]:
        """Return the problems to ask."""
        from selftaught.trainer import problems
        from selftaught.trainer.benchmarks import problems as of_benchmarks

        options = self._options
        if not options["benchmark"]:
            return problems.select(options["puzzles"], options["split"], options["instances"])
        seconds = options["cpu_limit"] if _is_given("cpu_limit") else None
        return of_benchmarks.select(options["benchmark"], options["form"], options["compare"], seconds)

    def score(self) -> int:
        """Score given samples; return the exit code."""
        from selftaught.sandbox import Limits
        from selftaught.sandbox.formats.joining import Dataset
        from selftaught.trainer import problems, samples

        options = self._options
        path = options["benchmark"] or problems.path(options["puzzles"])
        dataset = Dataset([path], options["samples"], options["form"], options["compare"])
        limits = Limits(cpu_seconds=options["cpu_limit"] if _is_given("cpu_limit") else dataset.seconds)
        settings = {
            "samples": True,
            "puzzles": dataset.digest,
            "cpu_seconds": limits.cpu_seconds,
            **self._judged_otherwise(),
        }
        with open_verifier(options, limits) as judge, self._file(settings) as file:
            remaining = samples.remaining(dataset, self._earlier(file))
            with self._progress(dataset.count(), "samples") as progress:
                samples.score(remaining, judge, self._on_result(file, progress))
        if dataset.unanswered:
            _say([f"{len(dataset.unanswered):,} of {len(dataset):,} problems have no sample:"])
            _say(_first(list(dataset.unanswered)))
        return self._end(progress, False)

    def _settings(self, model: Any, selection: Selection[Any], new_tokens: int, cpu_seconds: float) -> dict[str, Any]:
        from selftaught.generator.models import chats

        options = self._options
        return {
            "model": model.name,
            "digest": model.digest[:16],
            "puzzles": selection.digest,
            "attempts": options["attempts"],
            "max_new_tokens": new_tokens,
            "bare": options["bare"],
            **({"annotated": True} if options["annotated"] else {}),
            "chat": chats(model),
            "seed": options["seed"],
            "cpu_seconds": cpu_seconds,
            **self._judged_otherwise(),
        }

    def _judged_otherwise(self) -> dict[str, Any]:
        """Return the settings by which a dataset's problems are judged, if they are not its own."""
        given = {"format": self._options["form"], "compare": self._options["compare"]}
        return {name: value for name, value in given.items() if value not in ("auto", None)}

    def _file(self, settings: dict[str, Any]) -> ResultsFile:
        from selftaught.trainer.results import ResultsFile

        return ResultsFile(self._output, settings, resume=self._options["resume"], force=self._options["force"])

    def _progress(self, total: int | None, unit: str) -> Progress:
        shown = is_shown(sys.stdout if descriptor(self._output) else None, self._options["quiet"])
        done = sum(one.statuses.total() for one in self._results.values() if not one.to_repeat)
        return Progress(total, done, unit, shown=shown)

    def _earlier(self, file: ResultsFile) -> Iterator[Result]:
        """Yield the results of an earlier process, and count them."""
        for result in file.earlier() if self._options["resume"] else ():
            yield result
            self._keep(result)
        if number := sum(one.statuses.total() for one in self._results.values() if one.to_repeat):
            _say([f"made again, since they were refused or, by a fault, not judged: {number:,}"])

    def _keep(self, result: Result) -> None:
        """Count a result. Its solutions are in the file; in memory they would grow without bound."""
        result.solutions = {}
        if before := self._results.get(result.key):
            self._statuses -= before.statuses
        self._results[result.key] = result
        self._statuses.update(result.statuses)

    def _on_result(self, file: ResultsFile, progress: Progress) -> Callable[[Result], None]:
        def write(result: Result) -> None:
            file.add(result)
            self._keep(result)
            progress.add(result.statuses.total(), f"{self._statuses['accepted']:,} accepted")

        return write

    def _end(self, progress: Progress, malformed: bool) -> int:
        from selftaught.trainer import evaluation
        from selftaught.trainer.results import REFUSED, UNJUDGED, UNPARSED, merge

        apart = [result for result in self._results.values() if result.refusal]
        judged = [result for result in merge(self._results.values()) if result.score.attempts]
        show(evaluation.summary(judged), to_stderr=descriptor(self._output) == 1)
        _say([f"{progress.added:,} of {self._statuses.total():,} attempts now, {progress}"])
        for status in UNJUDGED:
            if number := self._statuses[status]:
                _say([f"{_attempts(number)} {status}: not judged, and neither right nor wrong"])
            if status in (REFUSED, "invalid"):
                _say(_first([f"{one.id}: {one.refusal}" for one in apart if one.statuses[status]]))
        if number := self._statuses[UNPARSED]:
            _say([f"{_attempts(number)} {UNPARSED}: no code is understood, which counts as wrong"])
        unjudged = sum(self._statuses[status] for status in UNJUDGED)
        return SOME_UNJUDGED if unjudged or malformed else OK


def _attempts(number: int) -> str:
    return "1 attempt is" if number == 1 else f"{number:,} attempts are"


def _first(lines: list[str]) -> list[str]:
    """Return the first few lines, and how many more there are."""
    more = [f"  and {len(lines) - _NAMED:,} more"] if len(lines) > _NAMED else []
    return [f"  {line}" for line in lines[:_NAMED]] + more


def _say(lines: list[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


def _model(name: str, options: dict[str, Any]) -> Any:
    if name.startswith("tiny:"):
        from selftaught.trainer.tiny.completer import Tiny

        if options["chat"]:
            raise click.UsageError("the tiny model can't chat: leave out --chat")
        return Tiny.load(Path(name.removeprefix("tiny:")))
    return load_model(name, options)


def show(summary: dict[str, Any], to_stderr: bool = False) -> None:
    """Print a summary (see `selftaught.trainer.evaluation.summary`) as a table."""
    from rich.console import Console
    from rich.table import Table

    from selftaught.sandbox.passk import Estimate

    table = Table("problems", "T", "n", "k", "Pass@k [95 % interval]")

    def add(name: str, temperature: str, attempts: int, found: dict[str, Any]) -> None:
        for k, one in found.items():
            shown = Estimate(one["value"], one["low"], one["high"])
            table.add_row(name, temperature, str(attempts), k, str(shown))

    for temperature, entry in summary["temperatures"].items():
        add(f"all {summary['problems']}", temperature, entry["attempts"], entry["pass_at_k"])
    apart = {**summary["groups"], f"trivial ({summary['trivial']['problems']})": summary["trivial"]["pass_at_k"]}
    for group, best in apart.items():
        for k, one in best.items():
            known = one["temperature"] is not None
            add(group, f"{one['temperature']:g}" if known else "", one["attempts"], {k: one})
    Console(stderr=to_stderr).print(table)
