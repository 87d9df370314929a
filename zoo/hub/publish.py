"""Files to a repository of the Hugging Face Hub: one commit, or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.hub.card import CARD, CLAIMS
from zoo.hub.download import RECORD, TENSORS
from zoo.hub.errors import told
from zoo.registry import ZooError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Remote:
    """A repository as it is on the Hub.

    Attributes:
        head: the commit of main.
        hashes: of every file, its sha256 (large files) or git's hash of a blob.
        tags: commit by tag.
        config: of its config.json, {} if it has none.
    """

    head: str
    private: bool
    hashes: Mapping[str, str]
    tags: Mapping[str, str]
    config: Any


@dataclass(frozen=True)
class Changes:
    """What a publication does to a repository: paths."""

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.removed)

    def __str__(self) -> str:
        if not self:
            return "no change"
        return f"{len(self.new)} new, {len(self.changed)} changed, {len(self.removed)} removed files"


def account() -> str:
    """The name of the Hub's account here.

    Raises:
        ZooError: there is none, it is refused, or the Hub is not reached.
    """
    with told("the account"):
        from huggingface_hub import HfApi

        return str(HfApi().whoami()["name"])


def look(repo: str) -> Remote | None:
    """The repository as it is, or None if there is none.

    Raises:
        ZooError: the Hub is not reached or refuses.
    """
    with told(repo):
        from huggingface_hub import HfApi, RepoFile
        from huggingface_hub.errors import RepositoryNotFoundError

        api = HfApi()
        try:
            info = api.model_info(repo)
        except RepositoryNotFoundError:
            return None
        tree = [one for one in api.list_repo_tree(repo, revision=info.sha, recursive=True) if isinstance(one, RepoFile)]
        hashes = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in tree}
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo).tags}
        config = _config(api, repo, str(info.sha)) if RECORD in hashes else {}
        return Remote(str(info.sha), bool(info.private), hashes, tags, config)


def compare(files: Mapping[str, bytes], remote: Remote | None) -> Changes:
    """What is to be sent, and which of the remote files that a publication makes are not among `files` any more."""
    hashes = remote.hashes if remote else {}
    changed = [path for path, content in files.items() if path in hashes and hashes[path] not in _hashes(content)]
    removed = [path for path in hashes if path not in files and _ours(path)]
    return Changes([path for path in files if path not in hashes], changed, removed)


def check(repo: str, files: Mapping[str, bytes], remote: Remote | None, private: bool, tag: str | None) -> None:
    """Refuses what a publication must not do.

    Raises:
        ZooError: the repository is not one of the same weights, is public, or its tag is elsewhere.
    """
    if remote is None:
        return
    mine, theirs = _identity(json.loads(files[RECORD])), _identity(remote.config)
    if theirs != mine and (theirs or RECORD in remote.hashes or TENSORS in remote.hashes):
        raise ZooError(f"{repo} holds {theirs or 'another model'}, not {mine}: choose a repository of its own.")
    if private and not remote.private:
        raise ZooError(f"{repo} is public; only a new repository can be made private from here.")
    if tag is not None and tag in remote.tags and (compare(files, remote) or remote.tags[tag] != remote.head):
        raise ZooError(f"{repo} has the tag {tag} at {remote.tags[tag][:12]}, and tags do not move: choose another.")


def publish(
    repo: str, files: Mapping[str, bytes], message: str, private: bool = False, tag: str | None = None
) -> tuple[str, Changes]:
    """Makes main of the repository hold `files`, in one commit or, if it does already, in none.

    A repository that is not there is created. The commit is refused by the Hub if someone else's came in between.
    Returns the commit of main and what was changed.

    Raises:
        ZooError: the Hub refused or was not reached: main is where it was. A tag can fail after the commit, and a
            second publication then sets it alone.
    """
    with told(repo):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from huggingface_hub.errors import HfHubHTTPError

        api = HfApi()
        remote = look(repo)
        check(repo, files, remote, private, tag)
        if remote is None:
            api.create_repo(repo, private=private or None)  # None: as the organisation has it
            remote = look(repo)
            if remote is None:
                raise ZooError(f"{repo} was created but is not shown: is the token allowed to read it?")
        changes, commit = compare(files, remote), remote.head
        if changes:
            operations: list[Any] = [CommitOperationAdd(path, files[path]) for path in changes.new + changes.changed]
            operations += [CommitOperationDelete(path) for path in changes.removed]
            try:
                made = api.create_commit(repo, operations, commit_message=message, parent_commit=remote.head)
            except HfHubHTTPError:
                raise
            except ValueError as error:  # metadata that the Hub does not like, or an answer that is no JSON
                raise ZooError(f"{repo}: the Hub refused: {' '.join(str(error).split())}") from None
            commit = made.oid
        if tag and tag not in remote.tags:
            api.create_tag(repo, tag=tag, revision=commit)
    return commit, changes


def _config(api: HfApi, repo: str, commit: str) -> Any:
    try:
        with open(api.hf_hub_download(repo, RECORD, revision=commit), encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, RecursionError):
        return {}


def _identity(config: Any) -> str:
    """What the repository with this config.json is about: "system.tag", or "the weights of system"; "" if not ours."""
    if not isinstance(config, dict) or not isinstance(config.get("system"), str):
        return ""
    if isinstance(config.get("weights"), list):
        return f"the weights of {config['system']}"
    return f"{config['system']}.{config.get('tag')}"


def _hashes(content: bytes) -> set[str]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content)
    return {blob.hexdigest(), hashlib.sha256(content).hexdigest()}


def _ours(path: str) -> bool:
    """Whether a publication makes files of this path; others in a repository are left alone."""
    *folders, name = path.split("/")
    if folders in (["figures"], [".eval_results"]):
        return True
    return name in (CARD, CLAIMS) and not folders or name in (RECORD, TENSORS) and len(folders) <= 1
