"""The upload, by huggingface_hub: create the repository, commit, and say in words what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from selftaught.trainer.hub.contents import DATASET, MODEL, Upload

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class PushFailed(RuntimeError):
    """Nothing, or not all, was uploaded. The message names the remedy."""


def push(upload: Upload, repo: str, *, private: bool, revision: str | None, other_type_too: bool) -> tuple[str, bool]:
    """Upload files to a repository, which is created if it is missing.

    The address of the Hub is read from HF_ENDPOINT, and the token from HF_TOKEN or where ``hf auth login`` leaves it.
    After an interruption the same call goes on: large files that are there are not sent again, and a file that has not
    changed is not committed again.

    Args:
        upload: What is uploaded.
        repo: ``OWNER/NAME``.
        private: Make the repository private.
        revision: The branch to commit to, which is created if it is missing (None: main).
        other_type_too: Create the repository even if one of the other type has the same name.

    Returns:
        The address of the repository, and whether there was anything to commit.

    Raises:
        PushFailed: It can't be done.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi(library_name="selftaught")
    if huggingface_hub.get_token() is None:
        raise PushFailed(
            f"there is no token for {api.endpoint}: make one with the right to write at "
            f"{api.endpoint}/settings/tokens, then `hf auth login`, or set HF_TOKEN"
        )
    with _explained(api, repo):
        _create(api, upload.kind, repo, private, other_type_too)
        if revision:
            api.create_branch(repo, branch=revision, repo_type=upload.kind, exist_ok=True)
        before = api.repo_info(repo, repo_type=upload.kind, revision=revision).sha
        operations = [
            huggingface_hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            for name, content in upload.files.items()
        ]
        done = api.create_commit(
            repo,
            operations,
            commit_message=f"Upload {upload.kind} with selftaught",
            repo_type=upload.kind,
            revision=revision,
        )
    prefix = "datasets/" if upload.kind == DATASET else ""
    branch = f"/tree/{revision}" if revision else ""
    return f"{api.endpoint}/{prefix}{repo}{branch}", done.oid != before


def _create(api: HfApi, kind: str, repo: str, private: bool, other_type_too: bool) -> None:
    """Create the repository unless it is there. Raises PushFailed if it is there, and not as it should be."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.repo_info(repo, repo_type=kind)
    except RepositoryNotFoundError:
        other = MODEL if kind == DATASET else DATASET
        if not other_type_too and api.repo_exists(repo, repo_type=other):
            raise PushFailed(
                f"{repo} is a {other} on {api.endpoint}, and this is a {kind}: choose another name, or give --type "
                f"{kind} to have both under one name"
            ) from None
        api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
        return
    if private and not found.private:
        raise PushFailed(
            f"{repo} exists and is public: make it private in its settings first, or leave out --private to publish"
        )


@contextmanager
def _explained(api: HfApi, repo: str) -> Iterator[None]:
    """Raise PushFailed with a remedy for what huggingface_hub raises."""
    from huggingface_hub import errors

    again = "the same command goes on where this one ended"
    try:
        yield
    except PushFailed:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise PushFailed("HF_HUB_OFFLINE is set, so nothing can be uploaded: unset it, or give --dry-run") from error
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise PushFailed(_refusal(api, repo, error)) from error
    except (OSError, RuntimeError, ValueError, errors.HTTPError) as error:  # HTTPError: no answer at all
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, errors.HfHubHTTPError):
            raise PushFailed(f"{error} {_refusal(api, repo, cause)}; {again}") from error
        if isinstance(cause, ValueError):  # such as a licence that the Hub does not know
            raise PushFailed(f"{cause}") from error
        reason = f"{type(cause).__name__}: {cause}"
        raise PushFailed(f"{api.endpoint} (HF_ENDPOINT) can't be reached: {reason}. {again.capitalize()}") from error


def _refusal(api: HfApi, repo: str, error: Exception) -> str:
    """Return in words what the Hub refused."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    owner, settings = repo.partition("/")[0], f"{api.endpoint}/settings/tokens"
    said = getattr(error, "server_message", None) or str(error).strip()
    if status == 401:
        return f"{api.endpoint} does not know the token: make a new one at {settings}, then `hf auth login`"
    if status == 403:
        return f"the token may not write to {owner} on {api.endpoint} ({said}): make one that may at {settings}"
    if status == 404:
        return f"{api.endpoint} has no {repo} that this token may see ({said}): check the name and the token's rights"
    if status in (408, 429) or status >= 500:
        return f"{api.endpoint} answered {status}: {said}. Try again later; what is uploaded is not sent again"
    return f"{api.endpoint} refused: {said}"
