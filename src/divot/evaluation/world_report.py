"""Scores of Sprite World to files: JSON, a page, and a sheet of clips that were made from captions."""

from __future__ import annotations

from html import escape
from pathlib import Path

from divot.config.files import write_json, write_text
from divot.evaluation.report import STYLE
from divot.evaluation.world_scores import PARTS, WorldExample, WorldScores
from divot.video import contact_sheet

NUM_SHOWN = 8
_FRAME_PX = 64
_SHOWN_FRAMES = slice(0, None, 3)


def score_rows(scores: WorldScores) -> list[tuple[str, str, int]]:
    """Name, text and number of every score, controls behind the rest."""
    rows = [(name, value.text(), value.n) for name, value in scores.measures.items()]
    rows += [(f"questions: {kind}", value.text(), value.n) for kind, value in scores.by_kind.items()]
    for control, values in scores.controls.items():
        rows += [(f"control {control}: {name}", v.text(), v.n) for name, v in values.items()]
    return rows


def write_world_report(scores: WorldScores, json_path: str | Path) -> list[Path]:
    """Write the scores as JSON and beside it, of the same name, a page (.html) and a sheet of clips (.png).

    Returns:
        The paths written; the sheet only where clips were made.

    Raises:
        ValueError: if the suffix is not .json.
    """
    path = Path(json_path)
    if path.suffix.lower() != ".json":
        raise ValueError(f"json_path: got suffix {path.suffix!r} in {path}, wanted .json")
    write_json(path, scores.to_json())
    written = [path, path.with_suffix(".html")]
    sheet = path.with_suffix(".png")
    if scores.examples:
        _write_sheet(scores.examples[:NUM_SHOWN], sheet)
        written.append(sheet)
    write_text(written[1], _page(scores, sheet.name if scores.examples else None))
    return written


def _write_sheet(examples: list[WorldExample], path: Path) -> None:
    rows, labels = [], []
    for example in examples:
        right = [part for part in PARTS[:-1] if getattr(example.verdict, part)]
        rows += [example.original[_SHOWN_FRAMES], example.generated[_SHOWN_FRAMES]]
        labels += [example.caption, f"made from these words; right: {', '.join(right) or 'nothing'}"]
    contact_sheet(rows, path, labels=labels, scale=max(1, 2 * _FRAME_PX // examples[0].original.shape[1]))


def _page(scores: WorldScores, sheet_name: str | None) -> str:
    run = scores.run
    lines = [
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in score_rows(scores)
    ]
    picture = [
        "<h2>Clips made from captions of the test split: the true clip over the made one</h2>",
        f'<img src="{escape(sheet_name or "")}" alt="Contact sheet">',
    ]
    return "\n".join(
        [
            "<!doctype html>",
            f'<meta charset="utf-8"><title>Sprite World</title><style>{STYLE}</style>',
            "<h1>Sprite World</h1>",
            f"<p>{run['clips']} clips, seed {run['seed']}, model {escape(str(run['model']['source']))}, "
            f"{run['date']}</p>",
            "<table><tr><th>score</th><th>mean [95% interval]</th><th>number</th></tr>",
            *lines,
            "</table>",
            *(picture if sheet_name else []),
            "",
        ]
    )
