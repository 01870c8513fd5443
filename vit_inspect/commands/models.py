"""`vit-inspect models`: which models are worth a look?"""

from __future__ import annotations

import typer


def models() -> None:
    """List models worth a look, and what for."""
    from vit_inspect.loading.recommended import ZOO

    width = max(len(each.name) for each in ZOO)
    for each in ZOO:
        typer.echo(f"{each.name:<{width}}  {each.shows}\n{'':<{width}}  {each.why}")
    typer.echo(
        "\nEvery other vision transformer of timm loads by its id, or from a hub by "
        "hf-hub:organisation/name,\none of transformers by transformers:organisation/name, one of "
        "open_clip by open_clip:organisation/name.\n"
        "Weights in a file: --checkpoint FILE --architecture ID."
    )
