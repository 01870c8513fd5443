"""Which commands are there?"""

from __future__ import annotations

import typer

from vit_inspect.commands.dashboard import dashboard
from vit_inspect.commands.exits import EXITS
from vit_inspect.commands.figures import figures
from vit_inspect.commands.models import models
from vit_inspect.commands.survey import survey

app = typer.Typer(
    help="A microscope for vision transformers.",
    epilog=EXITS,
    no_args_is_help=True,
    add_completion=False,
)
app.command(epilog=EXITS)(figures)
app.command(epilog=EXITS)(survey)
app.command()(models)
app.command()(dashboard)
