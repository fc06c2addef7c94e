"""What the README tells people to run."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def python_of(section: str) -> str:
    """The one Python program of a section."""
    text = README.read_text("utf-8").split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return str(program)
