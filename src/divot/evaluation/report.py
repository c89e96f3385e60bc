"""Measures to files: JSON, a page to read, and a sheet of the best, the median and the worst clip."""

from __future__ import annotations

from html import escape
from pathlib import Path

from divot.config.files import write_json, write_text
from divot.evaluation.intervals import Interval
from divot.evaluation.measures import DEFINITIONS, unit
from divot.evaluation.results import ReconstructionResult
from divot.video import contact_sheet

_SHEET_FRAME_PX = 128
STYLE = (
    "body { font-family: sans-serif; margin: 2em; } td, th { padding: 0.2em 0.8em; text-align: left; } "
    "img { max-width: 100%; image-rendering: pixelated; }"
)


def write_report(result: ReconstructionResult, json_path: str | Path) -> list[Path]:
    """Write the measures as JSON and beside it, of the same name, a page (.html) and a sheet of clips (.png).

    Args:
        result: what was measured.
        json_path: where to, a name that ends in `.json`.

    Returns:
        The three paths: JSON, page, sheet.

    Raises:
        ValueError: if the suffix is another.
    """
    path = Path(json_path)
    if path.suffix.lower() != ".json":
        raise ValueError(f"json_path: got suffix {path.suffix!r} in {path}, wanted .json")
    page, sheet = path.with_suffix(".html"), path.with_suffix(".png")
    write_json(path, result.to_json())
    _write_sheet(result, sheet)
    write_text(page, _page(result, sheet.name))
    return [path, page, sheet]


def measure_text(name: str, interval: Interval) -> str:
    """Mean and interval in a few characters, such as `24.10 dB [23.80, 24.40]`."""
    return interval.text(2 if unit(name) == "dB" else 3, unit(name))


def _write_sheet(result: ReconstructionResult, path: Path) -> None:
    rows, labels = [], []
    for example in result.examples:
        rows += [example.original, example.reconstruction]
        labels += [f"{example.place}: {example.name}", f"reconstruction, {example.psnr:.2f} dB"]
    scale = max(1, _SHEET_FRAME_PX // result.examples[0].original.shape[1])
    contact_sheet(rows, path, labels=labels, scale=scale)


def _page(result: ReconstructionResult, sheet_name: str) -> str:
    lines = []
    for name, interval in result.measures.items():
        cells = (name, measure_text(name, interval), interval.n, DEFINITIONS[name])
        lines.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    run = result.run
    model = escape(str(run["model"]["source"]))
    rejected = [f"<li>{escape(name)}: {escape(cause)}</li>" for name, cause in run["rejected"].items()]
    return "\n".join(
        [
            "<!doctype html>",
            f'<meta charset="utf-8"><title>Reconstruction</title><style>{STYLE}</style>',
            "<h1>Reconstruction</h1>",
            f"<p>{run['clips']} clips, seed {run['seed']}, model {model}, {run['date']}</p>",
            "<table><tr><th>measure</th><th>mean [95% interval]</th><th>clips</th><th>definition</th></tr>",
            *lines,
            "</table>",
            *(["<h2>Files not read, or not to their end</h2><ul>", *rejected, "</ul>"] if rejected else []),
            "<h2>Best, median and worst clip: the original over its reconstruction</h2>",
            f'<img src="{escape(sheet_name)}" alt="Contact sheet of three clips">',
            "",
        ]
    )
