"""The options of every command that asks a model, and the model that they mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from selftaught.generator.models import Completer


def _template(context: click.Context, parameter: click.Parameter, text: str | None) -> dict[str, Any] | None:
    try:
        found = None if text is None else json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}") from error
    if found is not None and not isinstance(found, dict):
        raise click.BadParameter("a JSON object is wanted")
    return found


CHAT = click.option(
    "--chat/--no-chat",
    default=None,
    help="Ask in messages (/v1/chat/completions, or a local model's chat template), with examples as turns, or let the "
    "model continue texts.  [default: texts, unless the server only has a chat]",
)
CHAT_TEMPLATE = click.option(
    "--chat-template-kwargs",
    metavar="JSON",
    callback=_template,
    help="Passed to the chat template, such as '{\"enable_thinking\": false}'.",
)
CONTEXT = click.option(
    "--context",
    type=click.IntRange(64),
    help="Maximum number of tokens of prompt and completion.  [default: the model's]",
)
BATCH_SIZE = click.option(
    "--batch-size",
    "--rows",
    type=click.IntRange(1),
    help="Maximum number of sequences that a local model samples at once.",
)
PROCESSES = click.option(
    "--processes",
    type=click.IntRange(0),
    help="Number of processes in which a local model runs; 0: one for each GPU, or else for each processor.  "
    "[default: 1]",
)
CONCURRENCY = click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Number of requests in flight at all servers together.  [default: as many as raise the throughput]",
)
TOKENIZER = click.option(
    "--tokenizer",
    metavar="NAME",
    help="Folder or name of a served model's tokenizer: its tokens are counted here, and texts are sent as token ids.  "
    "[default: that of the folder which the server names, if it is here]",
)
MODEL_OPTIONS = ("chat", "chat_template_kwargs", "context", "batch_size", "processes", "concurrency", "tokenizer")
_OF_SERVERS, _OF_LOCAL = ("concurrency", "tokenizer"), ("batch_size", "processes")


def model_options(command: Any) -> Any:
    """Add the options to a command. Their values go to `load_model`."""
    for option in (TOKENIZER, CONCURRENCY, PROCESSES, BATCH_SIZE, CONTEXT, CHAT_TEMPLATE, CHAT):
        command = option(command)
    return command


def load_model(name: str, options: dict[str, Any]) -> Completer:
    """Return the model of a name, with the options that were given.

    Args:
        name: See `selftaught.generator.models.load`.
        options: Values of the options by name; others are ignored.

    Raises:
        click.UsageError: An option is not for such a model.
        ModelFailed: The model can't be used.
    """
    from selftaught.generator import models

    given = {option: options[option] for option in MODEL_OPTIONS if options.get(option) is not None}
    served = name.startswith(("http://", "https://"))
    if wrong := [option for option in (_OF_LOCAL if served else _OF_SERVERS) if option in given]:
        flag = wrong[0].replace("_", "-")
        raise click.UsageError(f"--{flag} is for {'a local model' if served else 'a server'}: leave it out for {name}")
    try:
        return models.load(name, **given)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{name}: {error}") from error
