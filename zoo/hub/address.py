"""Addresses of weights on the Hugging Face Hub: hf://ORG/NAME, hf://ORG/NAME/TAG, each with @REVISION or without."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zoo.registry import ZooError

SCHEME = "hf://"
_NAME = r"\w(?:[\w.-]*\w)?"
_ADDRESS = re.compile(rf"hf://({_NAME}/{_NAME})(?:/({_NAME}))?(?:@({_NAME}(?:/{_NAME})*))?", re.ASCII)


@dataclass(frozen=True)
class Address:
    """A weight on the Hub.

    Attributes:
        repo: "ORG/NAME".
        tag: which weight of a repository that holds several; "" for one that holds a single weight.
        revision: a git tag, a branch or a commit; None for the head of main.
    """

    repo: str
    tag: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads an address.

        Raises:
            ZooError: it is not of the form hf://ORG/NAME, hf://ORG/NAME/TAG, with @REVISION or without.
        """
        found = _ADDRESS.fullmatch(text)
        if not found or ".." in text or "--" in found[1]:
            raise ZooError(f"{text!r} is no address of a weight: it reads hf://ORG/NAME[/TAG][@REVISION].")
        return cls(found[1], found[2] or "", found[3])

    def __str__(self) -> str:
        return f"{SCHEME}{self.repo}" + f"/{self.tag}" * bool(self.tag) + f"@{self.revision}" * bool(self.revision)

    def file(self, name: str) -> str:
        """The path of one of the weight's files in the repository."""
        return f"{self.tag}/{name}" if self.tag else name
