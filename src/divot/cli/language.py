"""ask, caption, chat, generate, merge."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from divot.cli import options
from divot.cli.options import DtypeName, FitName, SeamName
from divot.cli.screen import Screen, print_warning

if TYPE_CHECKING:
    from divot.lm.sampling import TextSampling

EXIT_SOME_FAILED = 1

Video = Annotated[str, typer.Argument(help="A video or picture file.", show_default=False)]
WordTemperature = Annotated[
    float, typer.Option("--temperature", min=0.0, help="0 takes the likeliest words.")
]
TopP = Annotated[float, typer.Option("--top-p", min=0.0, max=1.0, help="Likeliest words of so much chance.")]
MaxWords = Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer in word pieces.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    for command in (ask, caption, chat, generate, merge):
        app.command()(command)


def _sampling(temperature: float, top_p: float, max_tokens: int) -> TextSampling:
    from divot.lm.sampling import TextSampling

    return TextSampling(temperature=temperature, top_p=top_p, max_new_tokens=max_tokens)


def ask(
    video: Video,
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    temperature: WordTemperature = 0.0,
    top_p: TopP = 1.0,
    max_tokens: MaxWords = 256,
    max_clips: options.MaxClips = 20,
    views: options.Views = None,
    fit: options.Fit = FitName.crop,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer a question about a video."""
    screen = Screen(as_json, quiet)
    with screen.progress("ask"):
        from divot.pipelines.describe import describe_chat
        from divot.pipelines.divot import Divot

        sampling = _sampling(temperature, top_p, max_tokens)
        divot = Divot.from_pretrained(model, device, dtype.value)
        talk = divot.chat(video, fit.value, sampling, seed, max_clips, views)
        answer = talk.say(question)
    heard = {"video": video, "clips": len(talk.clips), "question": question, "answer": answer}
    screen.result({**heard, **describe_chat(divot, sampling, seed, fit.value, views)}, answer)


def caption(
    videos: Annotated[list[str], typer.Argument(help="Video or picture files.", show_default=False)],
    temperature: WordTemperature = 0.0,
    top_p: TopP = 1.0,
    max_tokens: MaxWords = 256,
    max_clips: options.MaxClips = 20,
    views: options.Views = None,
    fit: options.Fit = FitName.crop,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Say what each video shows. A file that cannot be read is named; the others are done."""
    from divot.config.errors import VideoReadError
    from divot.pipelines.describe import describe_chat
    from divot.pipelines.divot import Divot

    sampling = _sampling(temperature, top_p, max_tokens)
    divot = Divot.from_pretrained(model, device, dtype.value)
    screen, told, failed = Screen(as_json, quiet), {}, {}
    how = describe_chat(divot, sampling, seed, fit.value, views)
    # Each is printed at once, and the JSON also after an error: nothing that was told is lost.
    try:
        for video in videos:
            try:
                text = divot.chat(video, fit.value, sampling, seed, max_clips, views).caption()
            except VideoReadError as error:
                failed[video] = error.cause
                print_warning(f"{video}: {error.cause}. It was left out")
            else:
                told[video] = text
                screen.line(text if len(videos) == 1 else f"{video}: {text}")
    finally:
        screen.result({"captions": told, "failed": failed, **how})
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def chat(
    video: Video,
    temperature: WordTemperature = 0.0,
    top_p: TopP = 1.0,
    max_tokens: MaxWords = 256,
    max_clips: options.MaxClips = 20,
    views: options.Views = None,
    fit: options.Fit = FitName.crop,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
) -> None:
    """Talk about a video: one request a line; an empty line or the end of the input ends it."""
    from divot.pipelines.divot import Divot

    sampling = _sampling(temperature, top_p, max_tokens)
    talk = Divot.from_pretrained(model, device, dtype.value).chat(
        video, fit.value, sampling, seed, max_clips, views
    )
    is_person = sys.stdin.isatty()
    while True:
        if is_person:
            print("> ", end="", flush=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        talk.say(line, lambda text: print(text, end="", flush=True))
        print()


def generate(
    text: Annotated[str, typer.Argument(help="What the clip shall show.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("out/generate"),
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many; clip k has seed + k.")] = 1,
    is_image: Annotated[bool, typer.Option("--image", help="Make pictures instead of clips.")] = False,
    clips: Annotated[
        int, typer.Option("--clips", min=1, help="Clips of two seconds in each, joined to one film.")
    ] = 1,
    seam: Annotated[
        SeamName, typer.Option("--seam", help="Begin each clip with the last frame before it, or do not.")
    ] = SeamName.cut,
    is_mean: options.Mean = False,
    temperature: options.Temperature = None,
    component_temperature: options.ComponentTemperature = None,
    text_guidance: options.TextGuidance = None,
    candidates: options.Candidates = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    corrections: options.Corrections = None,
    model: options.Model = "tiny",
    device: options.Device = "auto",
    dtype: options.Dtype = DtypeName.float32,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Make clips, or films of several clips, from words."""
    screen = Screen(as_json, quiet)
    with screen.progress("generate") as on_progress:
        from divot.lm.sampling import TokenSampling
        from divot.pipelines.divot import Divot
        from divot.pipelines.generate import each_generated, write_generated
        from divot.pipelines.load import SamplerChanges

        sampling = TokenSampling(is_mean, temperature, component_temperature, text_guidance, candidates)
        changes = SamplerChanges(steps=steps, guidance=guidance, corrections=corrections)
        divot = Divot.from_pretrained(model, device, dtype.value)
        made = each_generated(
            divot,
            text,
            count,
            seed,
            sampling,
            is_image,
            clips,
            seam.value,
            on_progress,
            **changes,
        )
        records = write_generated(made, out, divot, sampling, **changes)
    lines = [_wrote(record) for record in records]
    screen.result({"prompt": text, "clips": records}, *lines)


def _wrote(record: dict[str, Any]) -> str:
    line = f"wrote {record['output']} ({record['seconds']:.2f} s)"
    if "film" in record:
        film = record["film"]
        jump = "nothing moves" if film["seam_jump"] is None else f"seam jump {film['seam_jump']} (1: none)"
        line = f"{line}: {len(film['clips'])} clips, {jump}"
    return "\n".join([line, *(f"  planned: {plan}" for plan in record.get("plans", ()))])


def merge(
    source: Annotated[str, typer.Argument(help="Model folder whose language model has a LoRA.")],
    out: Annotated[Path, typer.Argument(help="Model folder to write.")],
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Fold the LoRA into the language model's weights."""
    from divot.weights.merge import merge_model

    names = merge_model(source, out)
    Screen(as_json, quiet).result({"merged": names, "model": str(out)}, f"wrote {out}: {', '.join(names)}")
