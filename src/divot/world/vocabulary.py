"""The words of Sprite World: shapes, colours, motions, backgrounds, and the colours' red, green and blue.

Everything that a scene can name stands here once. The order of these tuples is part of the `standard`
distribution: a value added in the middle changes every clip of every seed.
"""

RGB = tuple[int, int, int]

NUM_FRAMES = 16
RATE_FPS = 8
# Positions and sizes of a scene are pixels of a frame this wide; other frame sizes scale them.
REFERENCE_SIZE_PX = 64

SHAPES: tuple[str, ...] = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "diamond",
    "cross",
    "ring",
    "moon",
    "bar",
)
# A turn of these looks like no turn at all.
ROUND_SHAPES = frozenset({"circle", "ring"})

COLOURS: dict[str, RGB] = {
    "red": (222, 32, 36),
    "green": (40, 176, 60),
    "blue": (36, 72, 232),
    "yellow": (250, 222, 40),
    "purple": (146, 48, 196),
    "orange": (250, 130, 16),
    "cyan": (40, 220, 236),
    "pink": (255, 128, 192),
    "white": (252, 252, 252),
    "black": (10, 10, 12),
}

# Muted, so that the sprites' colours stand out against them.
BACKGROUND_COLOURS: dict[str, RGB] = {
    "dark grey": (62, 62, 66),
    "grey": (122, 122, 126),
    "light grey": (190, 190, 192),
    "dark blue": (32, 42, 84),
    "light blue": (160, 190, 212),
    "dark green": (30, 68, 48),
    "light green": (168, 200, 166),
    "brown": (98, 72, 52),
    "beige": (206, 190, 158),
    "dark red": (88, 32, 40),
    "teal": (36, 96, 102),
    "lavender": (172, 164, 204),
}

BACKGROUND_KINDS: tuple[str, ...] = ("plain", "gradient", "texture")
TEXTURES: tuple[str, ...] = ("stripes", "checks", "dots", "clouds")

# Unit steps, x to the right and y down, of the motions that change a place.
DIRECTIONS: dict[str, tuple[int, int]] = {
    "moves_left": (-1, 0),
    "moves_right": (1, 0),
    "moves_up": (0, -1),
    "moves_down": (0, 1),
    "moves_up_left": (-1, -1),
    "moves_up_right": (1, -1),
    "moves_down_left": (-1, 1),
    "moves_down_right": (1, 1),
}

MOTIONS: tuple[str, ...] = (
    *DIRECTIONS,
    "grows",
    "shrinks",
    "spins",
    "bounces",
    "appears",
    "disappears",
    "changes_colour",
    "stays",
)
# These happen at one moment; all others take time.
SUDDEN_MOTIONS = frozenset({"appears", "disappears", "changes_colour"})

SPLITS: tuple[str, ...] = ("train", "test")
