"""What the README and the documents tell people to run."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

README = ROOT / "README.md"


def section(title: str, document: str = "README.md") -> str:
    """A section of a document, up to the next of its kind."""
    text = (ROOT / document).read_text("utf-8")
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def program_of(title: str, language: str, document: str = "README.md") -> str:
    """The one program of a section in that language."""
    [program] = re.findall(rf"```{language}\n(.*?)```", section(title, document), re.DOTALL)
    return str(program)


def python_of(title: str, document: str = "README.md") -> str:
    """The one Python program of a section."""
    return program_of(title, "python", document)


def commands_of(title: str, document: str = "README.md") -> list[str]:
    """What a section has people type, block by block."""
    return re.findall(r"```\n(.*?)```", section(title, document), re.DOTALL)
