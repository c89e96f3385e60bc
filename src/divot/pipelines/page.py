"""Pages of the demo and of a story: one html file with its pictures inside, so that it can be moved and sent."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from divot.config.files import write_text

_KINDS = {".png": "image/png", ".webp": "image/webp"}
_STYLE = """
:root { color-scheme: light; --ink: #1d2327; --soft: #5d676f; --line: #dfe3e6; --page: #f6f7f5; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 0; }
h3 { font-size: .95rem; margin: 1.5rem 0 .4rem; }
p { margin: .2rem 0 1rem; max-width: 46rem; }
.note, figcaption { color: var(--soft); font-size: .9rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 1.5rem;
  margin-top: 1.5rem; }
img { max-width: 100%; height: auto; display: block; }
figure { margin: 0; }
.sheet { overflow-x: auto; }
.sheet img { max-width: none; }
dl { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 1rem 0 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600; }
table { border-collapse: collapse; font-size: .95rem; }
td { padding: .2rem 1rem .2rem 0; vertical-align: top; }
.made { display: flex; flex-wrap: wrap; gap: 1.5rem; }
.made figure { flex: 1 1 14rem; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; }
.facts dd { font-weight: 400; }
"""


@dataclass(frozen=True)
class Said:
    """A request, what the model answered, and the right answer where it is known."""

    request: str
    answer: str
    truth: str | None = None


@dataclass(frozen=True)
class MadeSection:
    """A clip made from words."""

    prompt: str
    moving: Path
    """webp."""
    seconds: float


@dataclass(frozen=True)
class Section:
    """One video on the page.

    Attributes:
        title: its heading.
        note: a line below that.
        moving: original and reconstruction side by side, webp.
        sheet: some frames of both, png.
        tokens: the tokens as a picture, png.
        numbers: names and values.
        talk: what was asked and said about it.
    """

    title: str
    note: str
    moving: Path
    sheet: Path
    tokens: Path
    numbers: Sequence[tuple[str, str]]
    talk: Sequence[Said] = ()


def write_page(
    path: str | Path,
    sections: Sequence[Section],
    facts: Sequence[tuple[str, str]],
    made: Sequence[MadeSection] = (),
) -> None:
    """Write the page.

    Args:
        path: where to.
        sections: the videos, in order.
        facts: names and values about the run.
        made: clips made from words.
    """
    page = "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Divot demo</title><style>{_STYLE}</style></head><body><main>",
            "<h1>Video to tokens and back</h1>",
            "<p>Divot looked at 5 frames of each two seconds of video and wrote them down as a few tokens: "
            "lists of numbers that a language model can read and write. A diffusion model then drew 16 "
            "frames from nothing but those tokens. Left is the video that went in, right what came back.</p>",
            f'<dl class="facts">{_pairs(facts)}</dl>',
            *(_section(section) for section in sections),
            *([_made(made)] if made else []),
            "</main></body></html>",
            "",
        ]
    )
    write_text(path, page)


def write_story_page(path: str | Path, title: str, parts: Sequence[tuple[str, Path]], note: str) -> None:
    """Write the page of a story.

    Args:
        path: where to.
        title: what was asked for.
        parts: sentences, each with its moving picture (webp).
        note: a line about how it was made.
    """
    told = "".join(_figure(moving, sentence, caption=sentence) for sentence, moving in parts)
    page = "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>",
            f'<h1>{escape(title)}</h1><p class="note">{escape(note)}</p>',
            f'<section><div class="made">{told}</div></section></main></body></html>',
            "",
        ]
    )
    write_text(path, page)


def _section(section: Section) -> str:
    title = escape(section.title)
    return "\n".join(
        [
            f'<section><h2>{title}</h2><p class="note">{escape(section.note)}</p>',
            _figure(section.moving, f"{section.title}: original and reconstruction side by side"),
            f"<dl>{_pairs(section.numbers, wrap=True)}</dl>",
            *([_talk(section.talk)] if section.talk else []),
            "<h3>Frames that the tokenizer saw, and the same frames redrawn</h3>",
            _figure(section.sheet, f"Frames of {section.title}, original above reconstruction", "sheet"),
            "<h3>The tokens</h3>",
            _figure(
                section.tokens,
                f"Tokens of {section.title} as colours",
                "sheet",
                "A column is a token, a row one of its numbers: blue below zero, red above. A map is a clip.",
            ),
            "</section>",
        ]
    )


def _talk(talk: Sequence[Said]) -> str:
    rows = []
    for said in talk:
        truth = "" if said.truth is None else f'<td class="note">right answer: {escape(said.truth)}</td>'
        rows.append(f"<tr><td>{escape(said.request)}</td><td><b>{escape(said.answer)}</b></td>{truth}</tr>")
    return f"<h3>What the language model says, from the tokens alone</h3><table>{''.join(rows)}</table>"


def _made(made: Sequence[MadeSection]) -> str:
    figures = [
        _figure(section.moving, section.prompt, caption=f"{section.prompt} ({section.seconds:.1f} s)")
        for section in made
    ]
    intro = "The language model wrote the tokens of these clips; nothing but the words below each went in."
    shown = "".join(figures)
    return f'<section><h2>Clips from words</h2><p class="note">{intro}</p><div class="made">{shown}</div></section>'


def _figure(path: Path, text: str, kind: str = "", caption: str = "") -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img src="data:{_KINDS[path.suffix]};base64,{data}" alt="{escape(text)}">'
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    # A wide picture scrolls by itself; its caption does not.
    return f'<figure><div class="{kind}">{image}</div>{below}</figure>'


def _pairs(pairs: Sequence[tuple[str, str]], wrap: bool = False) -> str:
    before, after = ("<div>", "</div>") if wrap else ("", "")
    return "".join(f"{before}<dt>{escape(n)}</dt><dd>{escape(v)}</dd>{after}" for n, v in pairs)
