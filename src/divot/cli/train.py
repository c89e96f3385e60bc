"""train tokenizer, detokenizer, vae."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train a part of a model.")
