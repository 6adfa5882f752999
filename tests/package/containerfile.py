"""The Containerfile as data, for tests: no engine builds it here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = ROOT / "Containerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword and the rest, without options such as --mount and --from."""

    keyword: str
    options: tuple[str, ...]
    argument: str

    @property
    def words(self) -> list[str]:
        """The argument in exec form, else its words."""
        if self.argument.startswith("["):
            return [str(word) for word in json.loads(self.argument)]
        return self.argument.split()


def stages() -> list[list[Instruction]]:
    """Return the instructions of each stage, from its FROM on."""
    lines = [line for line in PATH.read_text().splitlines() if not line.lstrip().startswith("#")]
    found: list[list[Instruction]] = []
    for text in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not text.strip():
            continue
        keyword, *rest = text.split()
        options = []
        while rest and rest[0].startswith("--"):
            options.append(rest.pop(0))
        if keyword == "FROM":
            found.append([])
        # Not rest joined: the spaces inside a command are its own.
        argument = text[text.index(rest[0], len(keyword) + sum(map(len, options))) :]
        found[-1].append(Instruction(keyword, tuple(options), argument))
    return found


def arguments(stage: list[Instruction], keyword: str) -> list[list[str]]:
    """Return the words of each instruction of that keyword."""
    return [instruction.words for instruction in stage if instruction.keyword == keyword]


def copied_from_checkout() -> dict[str, str]:
    """Return what the first stage copies: source in the checkout -> target below its WORKDIR."""
    copies: dict[str, str] = {}
    for *sources, target in arguments(stages()[0], "COPY"):
        for source in sources:
            copies[source] = str(Path(target) / Path(source).name) if target.endswith("./") else target
    return copies


def variables() -> dict[str, str]:
    """Return the environment of the final image."""
    return dict(word.split("=", 1) for words in arguments(stages()[-1], "ENV") for word in words)
