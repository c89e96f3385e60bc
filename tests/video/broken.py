"""Files that are no video: each function makes one."""

import os
from pathlib import Path

import numpy as np

RABBIT = Path(__file__).parents[1] / "data" / "clips" / "bbb_rabbit.mp4"


def zero_bytes(path: Path) -> None:
    path.write_bytes(b"")


def one_byte(path: Path) -> None:
    path.write_bytes(b"x")


def text(path: Path) -> None:
    path.write_text("This is not a video.\n" * 200)


def web_page(path: Path) -> None:
    path.write_text("<!doctype html><html><body>404 not found</body></html>")


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def only_zeros(path: Path) -> None:
    path.write_bytes(bytes(50000))


def folder(path: Path) -> None:
    path.mkdir()


def missing(path: Path) -> None:
    pass


def broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("gone.mp4"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def playlist(path: Path) -> None:
    path.write_text(f"#EXTM3U\n#EXTINF:2,\n{RABBIT}\n#EXT-X-ENDLIST\n")


def list_of_files(path: Path) -> None:
    path.write_text(f"ffconcat version 1.0\nfile {RABBIT}\n")


def header_only(path: Path) -> None:
    path.write_bytes(RABBIT.read_bytes()[:1500])


def index_without_pictures(path: Path) -> None:
    path.write_bytes(RABBIT.read_bytes()[:2300])


def pictures_without_index(path: Path) -> None:
    data = RABBIT.read_bytes()
    path.write_bytes(data[:32] + data[data.find(b"mdat") - 4 :])


def pictures_zeroed(path: Path) -> None:
    data = RABBIT.read_bytes()
    start = data.find(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))


def png_header_only(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n")


def gif_header_only(path: Path) -> None:
    path.write_bytes(b"GIF89a")


NOTHING_TO_SEE = [
    zero_bytes,
    one_byte,
    text,
    web_page,
    random_bytes,
    only_zeros,
    folder,
    missing,
    broken_link,
    pipe,
    playlist,
    list_of_files,
    header_only,
    index_without_pictures,
    pictures_without_index,
    pictures_zeroed,
    png_header_only,
    gif_header_only,
]
