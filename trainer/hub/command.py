"""The command `selftaught push`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selftaught.sandbox.options import Unusable

if TYPE_CHECKING:
    from selftaught.trainer.hub.contents import Upload


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--repo", required=True, metavar="OWNER/NAME", help="The repository; it is created if it is missing.")
@click.option("--type", "kind", type=click.Choice(["dataset", "model"]),
              help="What to push of DIR.  [default: what it holds]")  # fmt: skip
@click.option("--private", is_flag=True, help="Only those whom you let may see it.")
@click.option("--revision", metavar="BRANCH", help="Branch to commit to; it is created if it is missing.  "
              "[default: main]")  # fmt: skip
@click.option("--license", "license_id", metavar="ID",
              help="Licence on the card, such as mit, apache-2.0 or cc-by-4.0.")  # fmt: skip
@click.option("--base-model", metavar="OWNER/NAME",
              help="Model: its base model on the Hub, if the folder does not tell it.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded, print the card, and end: no network.")
@click.option("--quiet", is_flag=True, help="Print the address alone.")
def push(folder: Path, repo: str, kind: str | None, **options: Any) -> None:
    """Push the pairs or the trained model of a run to the Hugging Face Hub, with a card.

    DIR is the folder of `selftaught generate` or `selftaught loop`, whose kept pairs become a dataset that
    `datasets.load_dataset("OWNER/NAME")` loads; or a trained model: the folder of `selftaught train`, or
    iterations/N/model of a loop. A loop's folder holds both: give --type. The model is then that of the last iteration.

    The card says how much there is, which filters there were and what they refused, how it was verified and by which
    version, and for a model the exam's figures. Uploaded are the pairs or the weights with their settings and
    tokenizer: no checkpoint, optimiser state, cache or log, no path of this machine and no address of a server. What
    looks like a secret ends the command.

    The token is that of `hf auth login` or HF_TOKEN; the Hub is at HF_ENDPOINT, if that is set. An interrupted upload
    goes on when the command is given again. What is on the Hub already is not sent again.

    \b
    Examples:
      selftaught push out/first --repo me/puzzles --license mit --dry-run
      selftaught push out/tiny --type model --repo me/tiny --private

    \b
    Exit code: 0 done, also if there was nothing new; 2 wrong usage, nothing to push, no token or no network.
    """
    from selftaught.sandbox.records import Unreadable
    from selftaught.trainer.hub.cleaning import Secret
    from selftaught.trainer.hub.contents import NothingToPush
    from selftaught.trainer.hub.upload import PushFailed

    try:
        _push(folder, repo, kind, options)
    except ImportError as error:
        raise Unusable(f"this needs huggingface_hub: pip install 'selftaught[train]' ({error})") from error
    except (NothingToPush, PushFailed, Secret, Unreadable, OSError, ValueError) as error:
        raise Unusable(str(error)) from error


def _push(folder: Path, repo: str, kind: str | None, options: dict[str, Any]) -> None:
    from huggingface_hub.utils import disable_progress_bars, validate_repo_id

    from selftaught.trainer.hub import contents, dataset, model, upload

    if repo.count("/") != 1:
        raise click.UsageError(f"--repo {repo}: give OWNER/NAME, OWNER being you or an organisation")
    try:
        validate_repo_id(repo)
    except ValueError as error:
        raise click.UsageError(f"--repo: {error}") from error
    found, path, run = contents.find(folder, kind)
    with tempfile.TemporaryDirectory(prefix="selftaught-push-") as staging:
        if found == contents.MODEL:
            made = model.prepare(path, run, repo, options["license_id"], options["base_model"])
        else:
            assert run is not None
            made = dataset.prepare(run, Path(staging), repo, options["license_id"])
        if options["dry_run"]:
            click.echo("\n".join(_described(made, repo, options["private"], options["revision"])))
            return
        if options["quiet"]:
            disable_progress_bars()
        else:
            click.echo("\n".join(f"note: {note}" for note in made.notes), err=True, nl=bool(made.notes))
        address, changed = upload.push(
            made, repo, private=options["private"], revision=options["revision"], other_type_too=bool(kind)
        )
    if not changed and not options["quiet"]:
        click.echo("everything is there already: nothing was committed", err=True)
    click.echo(address)


def _described(made: Upload, repo: str, private: bool, revision: str | None) -> list[str]:
    """Return the lines that --dry-run prints."""
    readme = made.files["README.md"]
    assert isinstance(readme, bytes)
    branch = f", branch {revision}" if revision else ""
    lines = [f"would upload to the {'private ' if private else ''}{made.kind} {repo}{branch}:"]
    lines += [f"  {made.size(name):>14,} bytes  {name}" for name in made.files]
    lines += [f"left out: {', '.join(made.left_out)}"] if made.left_out else []
    lines += [f"note: {note}" for note in made.notes]
    return [*lines, "", "README.md:", "", readme.decode()]
