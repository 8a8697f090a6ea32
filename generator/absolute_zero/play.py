"""Self-play: waves in which a model proposes tasks, the verifier checks them, and the model attempts them.

tasks.jsonl     a line for each task: its triplet, what was asked, how many attempts were right, the first right answer,
                and the reward of who proposed it
config.json     the settings; only a run with the same settings continues
progress.json   complete waves, the size of tasks.jsonl after them, and counts; replaced after it
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from selftaught.generator.absolute_zero import proposing
from selftaught.generator.absolute_zero.checking import check, distinct
from selftaught.generator.absolute_zero.problem import Problem, problems
from selftaught.generator.absolute_zero.triplet import Kind, NotAProposal, Proposal, Triplet
from selftaught.generator.folder import Mismatch
from selftaught.generator.models import Completer, Stop, chats, encodable, known
from selftaught.generator.prompts import BARE, Prompt, Style
from selftaught.sandbox import Verifier, records
from selftaught.sandbox.output import open_output, replace_json


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of self-play.

    Attributes:
        kinds: Kinds of tasks, with commas between them.
        prompts_per_wave: Prompts for proposals of programs in a wave, and again of inputs.
        samples_per_prompt: Proposals for each.
        references: Earlier triplets in a prompt for a proposal.
        attempts: Attempts at each task: the reward of its proposer is computed from them.
        temperature: Sampling temperature of proposals and attempts.
        top_p: Nucleus sampling threshold.
        propose_max_new_tokens: Maximum number of tokens of a proposal.
        solve_max_new_tokens: Maximum number of tokens of an attempt.
        bare: Prompts for attempts have no examples.
    """

    kinds: str = "deduction,abduction,induction"
    prompts_per_wave: int = 4
    samples_per_prompt: int = 8
    references: int = 6
    attempts: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    propose_max_new_tokens: int = 200
    solve_max_new_tokens: int = 100
    bare: bool = False

    def __post_init__(self) -> None:
        for name in self.kinds.split(","):
            if name not in list(Kind):
                raise ValueError(f"{name!r} is no kind of task: choose from {', '.join(Kind)}")

    @property
    def chosen(self) -> list[Kind]:
        """The kinds."""
        return [Kind(name) for name in self.kinds.split(",")]


def learnability(right: int, judged: int) -> float | None:
    """Return the reward of who proposed a task: 1 less the share of right attempts; 0 if all or none are right, since
    nothing is learnt from those (equation 4 of the paper); None if no attempt was judged."""
    if not judged:
        return None
    return 1 - right / judged if 0 < right < judged else 0.0


class SelfPlay:
    """A run of self-play in a folder; it continues after the last complete wave.

    Args:
        model: The model, which proposes and solves.
        verifier: The verifier.
        path: The folder; it is created.
        settings: The settings.
        seed: Random seed.
        resume: Continue the run that is in the folder.
        on_progress: Called with the counts after each wave.

    Attributes:
        counts: ``proposed``, ``readable``, ``valid`` and ``new`` proposals; ``tasks``, ``attempts``, ``judged``,
            ``right``, ``solved``, and ``learnable`` tasks, which some attempts solve and some do not.

    Raises:
        Mismatch: The folder has another run, or one that must not be continued.
    """

    def __init__(
        self,
        model: Completer,
        verifier: Verifier,
        path: Path,
        settings: Settings,
        *,
        seed: int = 0,
        resume: bool = False,
        on_progress: Callable[[Counter[str]], None] = lambda counts: None,
    ) -> None:
        self._model, self._verifier, self._settings, self._seed = model, verifier, settings, seed
        self._on_progress, self._path, self._chat = on_progress, path, chats(model)
        self._style = BARE if settings.bare else Style()
        self.waves, self.counts = 0, Counter[str]()
        self._open({**asdict(settings), "model": model.name, "digest": model.digest, "seed": seed}, resume)
        self._triplets = list(_triplets(path / "tasks.jsonl"))
        self._known = {one.id for one in self._triplets} | proposing.SHOWN

    def _open(self, config: dict[str, Any], resume: bool) -> None:
        path = self._path
        found = path / "config.json"
        if found.exists():
            old = orjson.loads(found.read_bytes())
            if not resume:
                raise Mismatch(f"{path} has a run already: give --resume to continue it, or name another folder")
            if different := [name for name in config if old.get(name) != config[name]]:
                raise Mismatch(f"{path} belongs to another run: {', '.join(different)} differ")
        elif path.exists() and any(path.iterdir()):
            raise Mismatch(f"{path} exists and is not the folder of a run: name another folder")
        path.mkdir(parents=True, exist_ok=True)
        replace_json(found, config)
        size = 0
        if (path / "progress.json").exists():
            done = orjson.loads((path / "progress.json").read_bytes())
            self.waves, size, self.counts = done["waves"], done["bytes"], Counter(done["counts"])
        with open_output(path / "tasks.jsonl", "ab") as file:
            file.truncate(size)

    def run(self, tasks: int, patience: int = 20) -> Counter[str]:
        """Play until there are so many tasks; return the counts.

        Args:
            tasks: Number of tasks. The wave that reaches it is kept whole.
            patience: Stop after so many consecutive waves without a new task.

        Raises:
            ModelFailed: The model can't be used.
        """
        empty = 0
        while self.counts["tasks"] < tasks and empty < patience:
            before = self.counts["tasks"]
            self._wave()
            empty = 0 if self.counts["tasks"] > before else empty + 1
            self._on_progress(self.counts)
        return self.counts

    def _wave(self) -> None:
        rng, counts = random.Random(self._derive("references")), Counter[str]()
        proposals: list[Proposal | None] = []
        chosen = self._settings.chosen
        if Kind.DEDUCTION in chosen or Kind.ABDUCTION in chosen or not self._triplets:
            proposals += self._programs(rng)
        if Kind.INDUCTION in chosen:
            proposals += self._inputs(rng)
        readable = [one for one in proposals if one]
        valid = [one for one in check(self._verifier, readable) if isinstance(one, Triplet)]
        new = list(distinct(valid, self._known))
        counts.update(proposed=len(proposals), readable=len(readable), valid=len(valid), new=len(new))
        asked = [one for triplet in new for one in problems(triplet, chosen)]
        attempted = self._solved(asked, counts)
        self._triplets += new
        self._commit(attempted, counts)

    def _programs(self, rng: random.Random) -> Iterator[Proposal | None]:
        asked = [proposing.for_program(self._references(rng), self._chat) for _ in self._times]
        for number, text in self._written(asked, "programs", proposing.AfterAsserts(1)):
            yield _read(partial(proposing.read_program, asked[number], text))

    def _inputs(self, rng: random.Random) -> Iterator[Proposal | None]:
        pool = self._triplets or list(proposing.SHOTS)
        sources = [rng.choice(pool).source for _ in self._times]
        asked = [proposing.for_inputs(proposing.SHOTS, source, self._chat) for source in sources]
        for number, text in self._written(asked, "inputs", proposing.AfterAsserts(proposing.MOST_INPUTS)):
            yield _read(partial(proposing.read_inputs, sources[number], asked[number], text))

    @property
    def _times(self) -> range:
        return range(self._settings.prompts_per_wave)

    def _references(self, rng: random.Random) -> list[Triplet]:
        """Return triplets for a prompt: the model's own, and ours as long as there are too few."""
        wanted = self._settings.references
        own = rng.sample(self._triplets, min(wanted, len(self._triplets)))
        found = [*own, *rng.sample(proposing.SHOTS, min(len(proposing.SHOTS), max(0, wanted - len(own))))]
        rng.shuffle(found)
        return found

    def _written(self, asked: Sequence[Prompt], what: str, stop: Stop) -> Iterator[tuple[int, str]]:
        settings = self._settings
        yield from self._complete(asked, settings.samples_per_prompt, settings.propose_max_new_tokens, what, stop)

    def _complete(
        self, asked: Sequence[Prompt], samples: int, tokens: int, what: str, stop: Stop
    ) -> Iterator[tuple[int, str]]:
        """Yield the numbers of prompts with their completions, in order. A prompt that is refused has none."""
        found: dict[int, list[str]] = {}
        answers = self._model.complete(
            [prompt.content for prompt in asked],
            samples=samples,
            max_new_tokens=tokens,
            temperature=self._settings.temperature,
            top_p=self._settings.top_p,
            stop=() if self._chat else stop,
            seed=self._derive(what),
            **known(self._model, on_refusal=lambda number, reason: None),
        )
        for number, texts in answers:
            found[number] = list(map(encodable, texts))
        return ((number, text) for number in sorted(found) for text in found[number])

    def _answers(self, asked: Sequence[Problem], prompts: Sequence[Prompt]) -> list[list[str | None]]:
        """Return the model's attempts at each task; None for one that can't be read."""
        answers: list[list[str | None]] = [[] for _ in asked]
        settings = self._settings
        for induction in (True, False):  # they stop at different places
            here = [number for number, one in enumerate(asked) if (one.kind is Kind.INDUCTION) == induction]
            if here:
                now, stop = [prompts[number] for number in here], asked[here[0]].stop
                written = self._complete(now, settings.attempts, settings.solve_max_new_tokens, "solve", stop)
                for place, text in written:
                    answers[here[place]].append(asked[here[place]].read(now[place], text))
        return answers

    def _solved(self, asked: Sequence[Problem], counts: Counter[str]) -> Iterator[dict[str, Any]]:
        """Yield the records of tasks after the model's attempts at them."""
        prompts = [one.prompt(self._style, self._chat) for one in asked]
        answers = self._answers(asked, prompts)
        different = [(n, sol) for n, found in enumerate(answers) for sol in dict.fromkeys(found) if sol is not None]
        tasks = (asked[n].task(str(place), sol) for place, (n, sol) in enumerate(different))
        verdicts = dict(zip(different, self._verifier.verify_many(tasks), strict=True))
        for number, one in enumerate(asked):
            given = [verdicts[number, sol] if sol is not None else None for sol in answers[number]]
            judged = [bool(verdict and verdict.accepted) for verdict in given if verdict is None or verdict.judged]
            right = next((sol for sol in answers[number] if sol and verdicts[number, sol].accepted), "")
            reward = learnability(sum(judged), len(judged))
            counts.update(tasks=1, attempts=len(given), judged=len(judged), right=sum(judged), solved=bool(right))
            counts["learnable"] += bool(reward)
            score = {"solution": right, "attempts": len(judged), "right": sum(judged), "proposer_reward": reward}
            asked_for = {"id": one.id, "kind": one.kind, **one.triplet.to_dict(), "prompt": prompts[number].text}
            yield asked_for | score | {"wave": self.waves}

    def _commit(self, found: Iterable[dict[str, Any]], counts: Counter[str]) -> None:
        path = self._path / "tasks.jsonl"
        with open_output(path, "ab") as file:
            for record in found:
                file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
        self.counts.update(counts)
        self.waves += 1
        size = path.stat().st_size
        replace_json(self._path / "progress.json", {"waves": self.waves, "bytes": size, "counts": dict(self.counts)})

    def _derive(self, what: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._seed} {self.waves} {what}".encode()).digest()[:4]) // 2


def read(path: str) -> Iterator[tuple[Kind, Triplet]]:
    """Yield the tasks in a file that a run wrote. Raises Unreadable, or ValueError with the line that is none."""
    for row in records.rows(path):
        if row.problem:
            raise ValueError(row.problem)
        try:
            yield Kind(row.fields.get("kind", "")), Triplet.from_dict(row.fields)
        except ValueError as error:
            raise ValueError(f"{row.place}: {error}") from error


def _triplets(path: Path) -> Iterator[Triplet]:
    found = {one.id: one for _, one in read(str(path))} if path.stat().st_size else {}
    yield from found.values()


def _read(reader: Callable[[], Proposal]) -> Proposal | None:
    try:
        return reader()
    except NotAProposal:
        return None
