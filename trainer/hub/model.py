"""A trained model's files, and its card: what it was made of, and its figures in the exam."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import orjson

from selftaught.trainer.hub.cleaning import cleaned, refuse_secrets, without_places
from selftaught.trainer.hub.contents import MODEL, Run, Upload

_CLEANED = (
    "config.json", "generation_config.json", "tokenizer_config.json", "adapter_config.json",
    "processor_config.json", "preprocessor_config.json", "training.json",
)  # fmt: skip
"""Files of settings, which may have paths of this machine."""
_UPLOADED = (
    "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer.model", "*.spm", "vocab.json",
    "vocab.txt", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json", "LICENSE*", "NOTICE*",
)  # fmt: skip
"""All other files that are uploaded. Checkpoints, states of optimisers, pickles and logs are in no pattern."""
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


def prepare(folder: Path, run: Run | None, repo: str, license_id: str | None, base_model: str | None) -> Upload:
    """Return what is uploaded of a trained model.

    Args:
        folder: The model's folder.
        run: The loop's run that trained it (None: another training).
        repo: ``OWNER/NAME``, for the card.
        license_id: The licence's identifier on the Hub (None: none is stated).
        base_model: The base model's name on the Hub (None: what the run or the training recorded).

    Raises:
        Secret: A text has what looks like one.
    """
    root = run.path if run else folder
    files: dict[str, bytes | Path] = {}
    left_out, links = [], []
    for path in sorted(folder.iterdir()):
        is_known = path.name in _CLEANED or any(fnmatch(path.name, pattern) for pattern in _UPLOADED)
        if path.is_file() and is_known and _leads_outside(path):
            links.append(path.name)
        elif path.is_file() and path.name in _CLEANED:
            files[path.name] = _cleaned(path, root)
        elif path.is_file() and is_known:
            files[path.name] = _checked(path)
        elif path.name != "README.md":
            left_out.append(path.name)
    left_out += links
    base = base_model or _base(folder, run)
    notes = [f"links to other folders are left out: {', '.join(links)}"] if links else []
    notes += [] if license_id else ["no licence is stated: --license ID (that of the base model, if it asks for it)"]
    if not _on_hub(base):
        notes.append("the card names no base model on the Hub: --base-model OWNER/NAME")
    readme = card(folder, run, repo, license_id, base, root).encode()
    return Upload(MODEL, {"README.md": readme, **files}, left_out, notes)


def _leads_outside(path: Path) -> bool:
    """Return True for a link to a file of another folder; the files of huggingface_hub's cache are links to its blobs.

    Whoever made a model's folder may have put a link to anything that its user can read there.
    """
    folder, target = path.parent.resolve(), path.resolve()
    return target.parent not in (folder, folder.parent.parent / "blobs")


def _checked(path: Path) -> Path:
    """Return the file of a model. Raises Secret for a text that has one; weights are no text."""
    if path.suffix != ".safetensors":
        refuse_secrets(path.name, 1, path.read_bytes())
    return path


def _cleaned(path: Path, root: Path) -> bytes:
    content = orjson.dumps(cleaned(orjson.loads(path.read_bytes()), root), option=orjson.OPT_INDENT_2) + b"\n"
    refuse_secrets(path.name, 1, content)
    return content


def _base(folder: Path, run: Run | None) -> str:
    """Return the base model as the run, the training or the adapters name it; empty if nothing does."""
    if run:
        return run.base_model
    for name, key in (("training.json", "model"), ("adapter_config.json", "base_model_name_or_path")):
        if (folder / name).exists():
            return str(orjson.loads((folder / name).read_bytes()).get(key) or "")
    return ""


def _on_hub(base: str) -> bool:
    """Return True if a name can be that of a model on the Hub, and is no folder here."""
    return bool(_REPO.fullmatch(base)) and not base.startswith(".") and not Path(base).exists()


def card(folder: Path, run: Run | None, repo: str, license_id: str | None, base: str, root: Path) -> str:
    """Return the model's card.

    Args:
        folder: The model's folder.
        run: The loop's run that trained it (None: another training).
        repo: ``OWNER/NAME``.
        license_id: The licence's identifier on the Hub (None: none is stated).
        base: The base model's name or path; empty if it is not known.
        root: The folder below which paths are named.
    """
    from huggingface_hub import EvalResult, ModelCardData

    entry = _entry(folder, run)
    figures = entry["pass_at_k"] if entry else {}
    exam = f"held-out puzzles of the preset {run.config['name']}" if run and entry else ""
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="selftaught-held-out",
            dataset_name=exam,
            metric_type=f"pass@{k}",
            metric_name=f"Pass@{k}",
            metric_value=round(found["value"], 4),
        )
        for k, found in figures.items()
    ]
    data = ModelCardData(
        license=license_id,
        base_model=base if _on_hub(base) else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["code", "programming-puzzles", "selftaught"],
        model_name=repo.rpartition("/")[2],
        eval_results=results or None,
    )
    settings = folder / "training.json"
    return _CARD.format(
        metadata=data.to_yaml(),
        name=repo.rpartition("/")[2],
        base=_named(base, run, root),
        made="\n".join(_made(folder, run, entry)),
        exam="\n".join(_exam(run, entry, exam)),
        settings=_cleaned(settings, root).decode().rstrip() if settings.exists() else "{}",
        licence=f"`{license_id}`, as stated by who pushed it." if license_id else "None is stated.",
    )


def _entry(folder: Path, run: Run | None) -> dict[str, Any] | None:
    """Return what the run's metrics have on this model."""
    number = folder.resolve().parent.name
    entries = run.metrics.get("iterations", []) if run else []
    return next((dict(entry) for entry in entries if str(entry["iteration"]) == number), None)


def _named(base: str, run: Run | None, root: Path) -> str:
    if base:
        return f"It was trained from `{without_places(base, root)}`."
    return "Its base model was trained from scratch by the preset." if run else "Its base model is not recorded."


def _made(folder: Path, run: Run | None, entry: dict[str, Any] | None) -> Iterator[str]:
    if run is None:
        yield "Trained by `selftaught train` on verified pairs of programming puzzles and solutions."
        return
    yield (
        f"Trained by `selftaught loop`, preset `{run.config['name']}`, recipe `{run.recipe['name']}`, seed "
        f"{run.config.get('seed', 0)}: iteration {folder.resolve().parent.name}."
    )
    if entry and entry["iteration"]:
        counts = entry["counts"]
        yield (
            f"It learned from {counts['examples']:,} pairs, which models of earlier iterations wrote and a Python "
            f"interpreter verified: {counts['puzzles']:,} puzzles."
        )


def _exam(run: Run | None, entry: dict[str, Any] | None, exam: str) -> Iterator[str]:
    """Yield the lines of the table of figures, the base model's beside this one's."""
    if run is None or entry is None:
        yield "No figures are recorded with this model: `selftaught evaluate` measures them."
        return
    first = run.metrics["iterations"][0]
    yield f"{entry['problems']} {exam}, each model at its own best temperature, with 95 % intervals:"
    yield ""
    yield "| | base | this model |"
    yield "|---|---|---|"
    for k, found in entry["pass_at_k"].items():
        yield f"| Pass@{k} | {_shown(first['pass_at_k'][k])} | {_shown(found)} |"
    yield ""
    yield "No held-out puzzle was shown to the model or trained on."


def _shown(found: dict[str, Any]) -> str:
    return f"{found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"


_CARD = """---
{metadata}
---
# {name}

{made}
{base}

## Exam

{exam}

## Training

```json
{settings}
```

## Licence and limits

Licence: {licence} The model writes code that nobody has reviewed: run it in a sandbox, such as that of
[selftaught](https://github.com/selftaught-verifier/selftaught).
"""
