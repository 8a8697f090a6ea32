"""The loop: write puzzles, solve them, keep verified pairs, train the base model on all of them, and repeat."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from selftaught.generator import example
from selftaught.generator.calls import Calls
from selftaught.generator.example import Example
from selftaught.generator.folder import Folder, Tally, read_puzzles
from selftaught.generator.generation import Generation
from selftaught.sandbox import Verifier
from selftaught.sandbox.output import replace_json
from selftaught.trainer import evaluation, page, problems, report, tracking
from selftaught.trainer.benchmarks import measurement
from selftaught.trainer.evaluation import Problem, Result, VerdictCache
from selftaught.trainer.metrics import gather
from selftaught.trainer.pace import Pace
from selftaught.trainer.presets import Preset
from selftaught.trainer.presets.preset import StepCallback
from selftaught.trainer.run import RunFolder

MessageCallback = Callable[[str], None]


class Loop:
    """A run of the loop in a folder. It continues from the complete stages of an earlier process.

    Args:
        preset: The settings.
        iterations: Number of iterations.
        path: The run's folder.
        verifier: The verifier.
        seed: Random seed.
        on_message: Called with lines about the progress.
        benchmarks: Files of benchmarks that the base model and the last one are measured on; they change nothing else.

    Raises:
        Mismatch: The folder belongs to a run with other settings.
        Unreadable: A benchmark can't be read, or has the name of another.
    """

    def __init__(
        self,
        preset: Preset,
        iterations: int,
        path: Path,
        verifier: Verifier,
        seed: int = 0,
        on_message: MessageCallback = lambda line: None,
        benchmarks: Sequence[str] = (),
    ) -> None:
        self._benchmarks = measurement.names(benchmarks)
        self.preset, self.iterations, self.seed = preset, iterations, seed
        self.config = {**preset.to_dict(), "seed": seed}
        self.folder = RunFolder(path, self.config)
        self._verifier, self._report, self._verdicts = verifier, on_message, VerdictCache(verifier)
        self._stopping = threading.Event()

    def run(self) -> dict[str, Any]:
        """Run all stages that are not complete; return the metrics, which are also in metrics.json.

        Raises:
            ModelFailed: A model can't be used.
        """
        self._stage("problems", self._find_trivial)
        base = self.folder.iteration(0) / "model"
        self._stage("0-base", lambda: self._make_base(base))
        self._trackers = tracking.Trackers(self.preset.report_to, self.folder.path, {"preset": self.preset.name})
        try:
            with ThreadPoolExecutor(1, "evaluation") as pool:
                try:
                    self._iterate(pool)
                except BaseException:
                    self._stopping.set()  # else leaving the pool would wait for the whole evaluation
                    raise
        finally:
            self._trackers.close()
            getattr(self.preset.learner, "close", lambda: None)()
        return self._write_results(self.iterations)

    def _measure(self, number: int) -> None:
        """Measure the model after an iteration on the benchmarks."""
        for name, file in self._benchmarks.items():
            self._stage(f"{number}-benchmark-{name}", lambda: self._measured(number, name, file))  # noqa: B023

    def _measured(self, number: int, name: str, file: str) -> dict[str, Any]:
        folder = self.folder.iteration(number)
        results = measurement.measure(
            self.preset.learner.load(folder / "model"),
            file,
            self._verdicts,
            attempts=self.preset.eval_attempts,
            temperatures=self.preset.eval_temperatures,
            style=self.preset.style,
            seed=lambda temperature: self.derive(f"benchmark {name} {number} {temperature}"),
        )
        evaluation.write(results, folder / f"benchmark-{name}.jsonl")
        judged = [one for one in results if one.score.attempts]
        unjudged = sum((one.statuses for one in results if not one.score.attempts), Counter[str]())
        summary = evaluation.summary(judged)
        return {"summary": {**summary, "statuses": dict(Counter(summary["statuses"]) + unjudged)}}

    def _iterate(self, pool: ThreadPoolExecutor) -> None:
        """Train and evaluate every model. If the preset says so, a model is evaluated while the next one is trained."""
        pending: Future[None] | None = None
        self._measure(0)
        for number in range(1, self.iterations + 1):
            if not self.preset.evaluate_while_training:
                self._evaluate_once(number - 1)
            self._stage(f"{number}-generate", lambda: self._generate(number))  # noqa: B023  # called at once
            if self.preset.evaluate_while_training:
                if pending:
                    pending.result()
                pending = pool.submit(self._evaluate_once, number - 1)
            self._stage(f"{number}-train", lambda: self._train(number))  # noqa: B023
        if pending:
            pending.result()
        self._evaluate_once(self.iterations)
        self._measure(self.iterations)

    def _evaluate_once(self, number: int) -> None:
        self._evaluate(number)
        entries = gather(self.folder.path, number, self.config)["iterations"]
        lines = [{"iteration": entry["iteration"], **tracking.figures(entry)} for entry in entries]
        tracking.write(self.folder.path / tracking.FILE, lines)
        self._trackers.log(number, tracking.figures(entries[-1]))
        if number:
            self._write_results(number)

    def _write_results(self, number: int) -> dict[str, Any]:
        """Write metrics, report and dataset up to an iteration; return the metrics."""
        metrics = gather(self.folder.path, number, self.config)
        old, new = (list(evaluation.read(self.folder.iteration(one) / "evaluation.jsonl")) for one in (0, number))
        before, after = (metrics["iterations"][one]["pass_at_k"] for one in (0, -1))
        metrics["gains"] = report.gains(old, new, before, after)
        if self._benchmarks:
            metrics["benchmarks"] = self._measurements(number)
        replace_json(self.folder.path / "metrics.json", metrics)
        report.write(metrics, self.folder.path, self.preset.notes)
        examples = self.examples(number)
        page.write(self.folder.path, examples, [seed.puzzle.source for seed in self.preset.seeds()])
        report.dataset(examples, metrics, self.config, self.folder.path)
        return metrics

    def _measurements(self, last: int) -> dict[str, dict[str, Any]]:
        """Return the summaries of each benchmark, as far as they are there, by iteration."""
        found: dict[str, dict[str, Any]] = {}
        for name in self._benchmarks:
            stages = {str(number): f"{number}-benchmark-{name}" for number in (0, last)}
            done = {number: stage for number, stage in stages.items() if self.folder.done(stage)}
            found[name] = {number: self.folder.stage(stage, dict)["summary"] for number, stage in done.items()}
        return found

    def _stage(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if not self.folder.done(name):
            self._report(f"{name} ...")
        return self.folder.stage(name, work)

    def _stepping(self) -> StepCallback:
        return partial(self._on_step, Pace(self._report, "steps"))

    def _on_step(self, pace: Pace, step: int, steps: int, loss: float) -> None:
        pace(step, steps, f"loss {loss:.3f}", now=True)

    def _on_written(self, pace: Pace, tally: Tally) -> None:
        pace(tally.stages["written"], self.preset.puzzles_per_iteration, f"{tally.stages['pairs']:,} pairs")

    def _make_base(self, base: Path) -> dict[str, Any]:
        self.preset.learner.make_base(base, self.derive("base"), self._stepping())
        return {}

    def _evaluate(self, number: int) -> None:
        path = self.folder.iteration(number) / "evaluation.jsonl"
        result = self._stage(f"{number}-evaluate", lambda: self._evaluate_into(number, path))
        _calls(path.parent).remove()
        self._load_verdicts(path)
        best = result["summary"]["pass_at_k"]
        self._report(
            "  " + ", ".join(f"Pass@{k} {one['value']:.1%} at T {one['temperature']:g}" for k, one in best.items())
        )

    def _evaluate_into(self, number: int, path: Path) -> dict[str, Any]:
        before = self._verdicts.seconds
        results = self.evaluate(self.folder.iteration(number) / "model", f"evaluate {number}", _calls(path.parent))
        evaluation.write(results, path)
        return {"summary": evaluation.summary(results), "seconds_verifying": self._verdicts.seconds - before}

    def evaluate(self, folder: Path, purpose: str, calls: Calls | None = None) -> list[Result]:
        """Return the results of a model on the held-out problems at every temperature.

        Args:
            folder: The model's folder.
            purpose: Text from which the random seeds are derived.
            calls: Where answers are kept until the evaluation is complete (None: nowhere).
        """
        model, asked, results = self.preset.learner.load(folder), self._problems, list[Result]()
        pace, temperatures = Pace(self._report, "problems"), self.preset.eval_temperatures
        for place, temperature in enumerate(temperatures):
            results += evaluation.evaluate(
                model,
                asked,
                self._verdicts,
                attempts=self.preset.eval_attempts,
                temperature=temperature,
                max_new_tokens=self.preset.eval_max_new_tokens,
                style=self.preset.style,
                seed=self.derive(f"{purpose} {temperature}"),
                stopped=self._stopping.is_set,
                calls=calls,
                on_answered=lambda n: pace(place * len(asked) + n, len(temperatures) * len(asked)),  # noqa: B023
            )
        return results

    def _find_trivial(self) -> dict[str, Any]:
        """Return the held-out problems that a trivial answer solves; they are reported separately."""
        marked = problems.mark_trivial(self.preset.problems(), self._verifier)
        return {"trivial": [problem.id for problem in marked if problem.trivial]}

    @property
    def _problems(self) -> list[Problem]:
        trivial = set(self._stage("problems", self._find_trivial)["trivial"])
        return [dataclasses.replace(one, trivial=one.id in trivial) for one in self.preset.problems()]

    def _load_verdicts(self, path: Path) -> None:
        """Add the verdicts of a complete evaluation to the cache."""
        sources = {problem.id: problem.puzzle.source for problem in self._problems}
        for result in evaluation.read(path):
            self._verdicts.add(sources[result.id], result.solutions)

    def _generate(self, number: int) -> dict[str, Any]:
        model = self.preset.learner.load(self.folder.iteration(number - 1) / "model")
        base = self.folder.iteration(0) / "model"
        writer = self.preset.learner.load(base) if self.preset.base_writes_puzzles and number > 1 else None
        recipe = self.preset.for_iteration(number)
        seeds, path = self.preset.seeds(), self.folder.iteration(number) / "generation"
        settings = {"recipe": recipe.to_dict(), "model": model.digest, "puzzles": self.preset.puzzles_per_iteration}
        settings |= {"writer": writer.digest} if writer else {}
        with Folder(path, settings, seeds, resume=True) as folder:
            earlier = chain.from_iterable(self.written(before) for before in range(1, number))
            generation = Generation(
                model,
                seeds,
                self._verifier,
                folder,
                recipe,
                style=self.preset.style,
                held_out=self.preset.held_out(),
                earlier=earlier,
                seed=self.derive(f"generate {number}"),
                iteration=number,
                writer=writer,
                on_progress=partial(self._on_written, Pace(self._report, "puzzles written")),
            )
            tally = generation.run(puzzles=self.preset.puzzles_per_iteration)
        counts = tally.to_dict()
        return {**counts, "seconds_of": counts["seconds"]}

    def written(self, number: int) -> Iterator[dict[str, Any]]:
        """Yield the records of the puzzles that an iteration wrote."""
        return read_puzzles(self.folder.iteration(number) / "generation")

    def _train(self, number: int) -> dict[str, Any]:
        examples = self.examples(number)
        folder = self.folder.iteration(number)
        with open(folder / "train.jsonl", "wb") as out:
            for one in examples:
                example.write(one, out)
        base = self.folder.iteration(0) / "model"
        counts = self.preset.learner.train(
            base, examples, folder / "model", self.derive(f"train {number}"), self._stepping()
        )
        return {"training": counts, "examples": len(examples), "puzzles": len({one.puzzle_id for one in examples})}

    def examples(self, number: int) -> list[Example]:
        """Return all pairs kept up to an iteration, each once."""
        folders = (self.folder.iteration(before) / "generation" for before in range(1, number + 1))
        return list(example.distinct(folder / "pairs.jsonl" for folder in folders))

    def derive(self, purpose: str) -> int:
        """Return a seed for one purpose. The data of a run depends on the text that is hashed here."""
        return int.from_bytes(hashlib.sha256(f"{self.seed} {purpose}".encode()).digest()[:4]) // 2


def _calls(folder: Path) -> Calls:
    """Return the answers of an evaluation that is not complete, in the folder of its iteration."""
    return Calls(folder / "evaluation-calls.jsonl")
