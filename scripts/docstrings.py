"""How are docstrings shown in the API reference? A griffe extension, used by `mkdocs.yml`.

Docstrings here describe a parameter or a field by a line that begins with its name and a colon.
Markdown would join such lines to one paragraph; this makes a list of them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

NAMED = re.compile(r"(\w+(?:, \w+)*): ")
AXES = re.compile(r"(?:Float|Int|Bool|UInt8)\[[\w.]+, ['\"]([^'\"]+)['\"]\]")
"""The names of an array's axes in its annotation."""


class NamedLines(griffe.Extension):
    """Makes a list of the lines that describe parameters and fields."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Change the docstrings of a package, once it is loaded."""
        self._change(pkg)

    def _change(self, found: griffe.Object) -> None:
        # What is imported from elsewhere is an alias, and is changed there.
        own = {name: each for name, each in found.members.items() if not each.is_alias}
        for member in own.values():
            self._change(member)
        names = {each.name: "" for each in getattr(found, "parameters", ())}
        names |= {name: _axes(member) for name, member in own.items()}
        if found.docstring and names:
            found.docstring.value = listed(found.docstring.value, names)


def _axes(member: griffe.Object | griffe.Alias) -> str:
    """The axes of an array, such as " (image, layer, head)"."""
    annotation = str(getattr(member, "annotation", None) or "")
    found = AXES.search(annotation)
    return f" ({', '.join(found[1].split())})" if found else ""


def listed(text: str, names: dict[str, str]) -> str:
    """The text, with a list item for each line that begins with some of the names and a colon.

    names: what stands behind each in the list. The lines up to the next such line, or up to an
        empty one, belong to the item.
    """
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        match = NAMED.match(line)
        if match and names.keys() >= (found := dict.fromkeys(match[1].split(", "))).keys():
            if not inside:
                lines.append("")
            inside = True
            words = ", ".join(f"`{name}`{names[name]}" for name in found)
            lines.append(f"- {words}: {line[match.end() :]}")
        elif inside and not line.strip():
            inside = False
            lines.append("")
        else:
            lines.append(f"    {line.strip()}" if inside else line)
    return "\n".join(lines)
