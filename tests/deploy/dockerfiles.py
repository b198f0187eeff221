"""The Dockerfiles as BuildKit's parser reads them."""

from dataclasses import dataclass
from pathlib import Path

import dockerfile

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "deploy").glob("*.Dockerfile"))


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it."""

    image: str
    name: str
    commands: tuple[dockerfile.Command, ...]

    def values(self, instruction: str) -> list[tuple[str, ...]]:
        return [command.value for command in self.commands if command.cmd == instruction]


def stages(path: Path) -> list[Stage]:
    found: list[list[dockerfile.Command]] = []
    for command in dockerfile.parse_file(str(path)):
        if command.cmd == "FROM":
            found.append([])
        found[-1].append(command)
    return [_stage(tuple(commands)) for commands in found]


def _stage(commands: tuple[dockerfile.Command, ...]) -> Stage:
    image, *alias = commands[0].value
    return Stage(image, alias[1] if alias else "", commands)
