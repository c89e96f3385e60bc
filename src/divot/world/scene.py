"""What a clip shows, as a value: a background, one or two sprites, and the events that happen to each.

All places and sizes are pixels of a frame `REFERENCE_SIZE_PX` wide, x to the right and y down. A scene can be
written to JSON and back: `Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from divot.world.vocabulary import (
    BACKGROUND_COLOURS,
    BACKGROUND_KINDS,
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    NUM_FRAMES,
    ROUND_SHAPES,
    SHAPES,
    SUDDEN_MOTIONS,
    TEXTURES,
)

_GRADIENT_STEPS = 4


@dataclass(frozen=True)
class Event:
    """One thing that happens to a sprite.

    Attributes:
        motion: one of `MOTIONS`.
        start_frame: the last frame of the state before; for a sudden motion, the first of the new one.
        end_frame: the first frame that shows the state after; equal to `start_frame` for a sudden motion.
        distance_px: length of the way for `moves_*`, height of a bounce for `bounces`, else 0.
        num_bounces: for `bounces`, else 0.
        to_size_px: size afterwards for `grows` and `shrinks`, else 0.
        turn_deg: for `spins`, clockwise positive, else 0.
        to_colour: for `changes_colour`, else empty.
    """

    motion: str
    start_frame: int = 0
    end_frame: int = NUM_FRAMES - 1
    distance_px: float = 0.0
    num_bounces: int = 0
    to_size_px: float = 0.0
    turn_deg: float = 0.0
    to_colour: str = ""

    def __post_init__(self) -> None:
        _check_word("event.motion", self.motion, MOTIONS)
        if not 0 <= self.start_frame <= self.end_frame < NUM_FRAMES:
            raise ValueError(
                f"event frames: got {self.start_frame} to {self.end_frame}, "
                f"wanted 0 <= start_frame <= end_frame < {NUM_FRAMES}"
            )
        is_sudden = self.motion in SUDDEN_MOTIONS
        if is_sudden != (self.start_frame == self.end_frame):
            wanted = "equal" if is_sudden else "different"
            raise ValueError(
                f"event frames of {self.motion!r}: got {self.start_frame} and {self.end_frame}, "
                f"wanted {wanted} ones"
            )
        moves = self.motion in DIRECTIONS
        bounces = self.motion == "bounces"
        _check_used("event.distance_px", self.distance_px > 0, moves or bounces, self)
        _check_used("event.num_bounces", self.num_bounces > 0, bounces, self)
        _check_used("event.to_size_px", self.to_size_px > 0, self.motion in ("grows", "shrinks"), self)
        _check_used("event.turn_deg", self.turn_deg != 0, self.motion == "spins", self)
        _check_used("event.to_colour", self.to_colour != "", self.motion == "changes_colour", self)
        if self.to_colour:
            _check_word("event.to_colour", self.to_colour, COLOURS)


@dataclass(frozen=True)
class Sprite:
    """A coloured shape, where it starts, and its events in the order of time (one or more).

    Attributes:
        shape: one of `SHAPES`.
        colour: one of `COLOURS`, the colour at the start.
        size_px: side of the box around the shape at the start.
        x_px, y_px: centre at the start.
        events: one event at least; `stays` alone for a sprite to which nothing happens.
    """

    shape: str
    colour: str
    size_px: float
    x_px: float
    y_px: float
    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        _check_word("sprite.shape", self.shape, SHAPES)
        _check_word("sprite.colour", self.colour, COLOURS)
        if self.size_px <= 0:
            raise ValueError(f"sprite.size_px: got {self.size_px}, wanted a positive size")
        if not self.events:
            raise ValueError("sprite.events: got none, wanted one event at least")
        for event, follower in zip(self.events, self.events[1:], strict=False):
            if follower.start_frame <= event.end_frame:
                raise ValueError(
                    f"sprite.events: {follower.motion!r} begins in frame {follower.start_frame}, "
                    f"wanted one after {event.end_frame}, where {event.motion!r} ends"
                )
        if self.shape in ROUND_SHAPES and any(event.motion == "spins" for event in self.events):
            raise ValueError(f"sprite.events: a {self.shape} that spins looks still; got 'spins'")


@dataclass(frozen=True)
class Background:
    """What lies behind the sprites.

    Attributes:
        kind: one of `BACKGROUND_KINDS`.
        colour: one of `BACKGROUND_COLOURS`.
        shade: added to red, green and blue, in levels of 255.
        to_colour: colour at the far end of a gradient, else empty.
        texture: one of `TEXTURES` for a texture, else empty.
        angle_deg: direction of a gradient or of a texture's rows.
        period_px: width of one repeat of a texture, else 0.
        contrast: a texture's largest departure from the colour, in levels of 255, else 0.
        texture_seed: phase of a texture, and the waves of `clouds`.
    """

    kind: str
    colour: str
    shade: int = 0
    to_colour: str = ""
    texture: str = ""
    angle_deg: float = 0.0
    period_px: float = 0.0
    contrast: int = 0
    texture_seed: int = 0

    def __post_init__(self) -> None:
        _check_word("background.kind", self.kind, BACKGROUND_KINDS)
        _check_word("background.colour", self.colour, BACKGROUND_COLOURS)
        _check_used("background.to_colour", self.to_colour != "", self.kind == "gradient", self)
        _check_used("background.texture", self.texture != "", self.kind == "texture", self)
        _check_used("background.period_px", self.period_px > 0, self.kind == "texture", self)
        if self.to_colour:
            _check_word("background.to_colour", self.to_colour, BACKGROUND_COLOURS)
        if self.texture:
            _check_word("background.texture", self.texture, TEXTURES)

    def levels(self) -> list[tuple[float, float, float]]:
        """Colours that lie somewhere in this background, its extremes among them (levels of 255)."""
        near = BACKGROUND_COLOURS[self.colour]
        if self.kind == "gradient":
            far = BACKGROUND_COLOURS[self.to_colour]
            shares = [step / _GRADIENT_STEPS for step in range(_GRADIENT_STEPS + 1)]
            return [_shifted(_mixed(near, far, share), self.shade) for share in shares]
        if self.kind == "texture":
            return [_shifted(near, self.shade - self.contrast), _shifted(near, self.shade + self.contrast)]
        return [_shifted(near, self.shade)]


@dataclass(frozen=True)
class Scene:
    """A background with one or two sprites; a later sprite is drawn over an earlier one."""

    background: Background
    sprites: tuple[Sprite, ...]

    def __post_init__(self) -> None:
        if len(self.sprites) not in (1, 2):
            raise ValueError(f"scene.sprites: got {len(self.sprites)} sprites, wanted 1 or 2")

    def to_dict(self) -> dict[str, Any]:
        """The scene in dicts, lists, strings and numbers only, ready for JSON."""
        plain = asdict(self)
        plain["sprites"] = [{**sprite, "events": list(sprite["events"])} for sprite in plain["sprites"]]
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scene:
        """The scene that `to_dict` wrote.

        Raises:
            ValueError: for a missing or unknown field, or a value that a scene cannot have; names it.
        """
        _check_fields("scene", values, cls)
        sprites = []
        for number, sprite in enumerate(values["sprites"]):
            _check_fields(f"scene.sprites[{number}]", sprite, Sprite)
            for event in sprite["events"]:
                _check_fields(f"scene.sprites[{number}].events", event, Event)
            sprites.append(
                Sprite(**{**sprite, "events": tuple(Event(**event) for event in sprite["events"])})
            )
        _check_fields("scene.background", values["background"], Background)
        return cls(background=Background(**values["background"]), sprites=tuple(sprites))


def _mixed(near: tuple[int, int, int], far: tuple[int, int, int], share: float) -> tuple[float, float, float]:
    red, green, blue = (a + (b - a) * share for a, b in zip(near, far, strict=True))
    return red, green, blue


def _shifted(rgb: tuple[float, float, float], shift: float) -> tuple[float, float, float]:
    red, green, blue = (level + shift for level in rgb)
    return red, green, blue


def _check_word(field: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{field}: got {value!r}, wanted one of {', '.join(allowed)}")


def _check_used(field: str, is_set: bool, is_wanted: bool, owner: Event | Background) -> None:
    if is_set != is_wanted:
        word = owner.motion if isinstance(owner, Event) else owner.kind
        got, wanted = ("a value", "none") if is_set else ("none", "a value")
        raise ValueError(f"{field} of {word!r}: got {got}, wanted {wanted}")


def _check_fields(place: str, values: Any, kind: type) -> None:
    names = {field.name for field in fields(kind)}
    if not isinstance(values, Mapping):
        raise ValueError(f"{place}: got {type(values).__name__}, wanted a mapping")
    if set(values) != names:
        odd = sorted(set(values) ^ names)
        raise ValueError(
            f"{place}: missing or unknown fields {', '.join(odd)}; wanted {', '.join(sorted(names))}"
        )
    for field in fields(kind):
        # Annotations are strings here; fields of other types hold parts, which are checked by themselves.
        wanted = {"str": (str,), "int": (int,), "float": (int, float)}.get(str(field.type))
        value = values[field.name]
        if wanted is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise ValueError(f"{place}.{field.name}: got {value!r}, wanted {field.type}")
        if str(field.type).startswith("tuple[") and not isinstance(value, list | tuple):
            raise ValueError(f"{place}.{field.name}: got {value!r}, wanted a list")
