"""The README's tables of figures, made from the catalogue.

    python -m scripts.readme_tables

writes them into README.md, between the marks `<!-- paper -->` and `<!-- evidence -->`.
"""

from __future__ import annotations

import re
from pathlib import Path

import vit_inspect as vi

README = Path(__file__).parents[1] / "README.md"


def figure_table(group: str) -> str:
    """The figures of a group, "paper" or "evidence": title, question, name in Python."""
    rows = [
        f"| {entry.figure.title} | {entry.figure.question} | `vi.{entry.figure.slug}` |"
        for entry in vi.FIGURES
        if entry.group == group
    ]
    return "\n".join(["| figure | question | in Python |", "|---|---|---|", *rows])


def with_tables(readme: str) -> str:
    """The text with both tables as the catalogue has them."""
    for group in ("paper", "evidence"):
        readme = re.sub(
            rf"(<!-- {group} -->\n).*?(<!-- /{group} -->)",
            lambda found, group=group: found[1] + figure_table(group) + "\n" + found[2],  # type: ignore[misc]
            readme,
            flags=re.DOTALL,
        )
    return readme


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
