"""What can go wrong between here and the Hub, told in one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zoo.registry import ZooError


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turns the client's exceptions into sentences about `what`, an address or a repository.

    Raises:
        ZooError: the Hub refused, failed or was not reached; or huggingface_hub is not installed.
    """
    try:
        import huggingface_hub.errors as errors
    except ImportError:
        raise ZooError(f"{what} is on the Hugging Face Hub: `pip install huggingface_hub` to reach it.") from None
    try:
        try:
            yield
        except RuntimeError as error:  # how the client tells that one of several uploads failed
            raise error.__cause__ or error from None
    except errors.LocalTokenNotFoundError:
        raise ZooError(f"{what}: there is no account here; log in with `hf auth login` or set HF_TOKEN.") from None
    except errors.OfflineModeIsEnabled:
        raise ZooError(f"{what}: HF_HUB_OFFLINE is set, so the Hub is not asked.") from None
    except errors.GatedRepoError:
        raise ZooError(f"{what} is gated: ask for access on its page, then `hf auth login`.") from None
    except errors.RepositoryNotFoundError:
        raise ZooError(
            f"{what}: the Hub shows no such repository (a private one needs `hf auth login` or HF_TOKEN)."
        ) from None
    except errors.RevisionNotFoundError:
        raise ZooError(f"{what}: the repository has no such revision.") from None
    except errors.LocalEntryNotFoundError as error:
        raise ZooError(f"{what} is not in the cache and the Hub is not reached ({_cause(error)}).") from None
    except errors.EntryNotFoundError as error:
        raise ZooError(f"{what}: the repository has no {_file(error)}.") from None
    except errors.HfHubHTTPError as error:
        raise ZooError(f"{what}: the Hub refused ({_status(error)}).") from None
    except (errors.HTTPError, ConnectionError, TimeoutError) as error:
        raise ZooError(f"{what}: the Hub is not reached ({_name(error)}).") from None
    except errors.HFValidationError as error:
        raise ZooError(f"{what}: {_line(error)}") from None
    except OSError as error:
        raise ZooError(f"{what}: the transfer failed ({_line(error)})") from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _name(error: BaseException) -> str:
    text = _line(error)
    return type(error).__name__ + (f": {text}" if text and text != type(error).__name__ else "")


def _status(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if response is None:
        return _line(error)
    says = getattr(error, "server_message", None) or response.headers.get("X-Error-Message") or response.reason_phrase
    advice = {401: "log in with `hf auth login`", 403: "the token may not write there"}.get(response.status_code)
    return "; ".join([f"{response.status_code} {' '.join(str(says).split())}", *([advice] if advice else [])])


def _cause(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__
    if cause is None or type(cause).__name__ == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set"
    return _status(cause) if getattr(cause, "response", None) is not None else _name(cause)


def _file(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if response is None:
        return "such file"
    return str(response.request.url.path).split("/resolve/")[-1].partition("/")[2]
