"""A video stream opened with PyAV: upright RGB frames by number, and every way in which it can fail.

Decoding always starts at a key frame known from the packet list, and each decoded frame is recognised by its
time of display: a seek that lands elsewhere, reordered frames or lost packets cannot shift the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from divot.config.errors import VideoReadError
from divot.video.frame_table import FrameTable
from divot.video.packets import FALLBACK_RATE_FPS, PacketList, list_packets, table_of_packets
from divot.video.upright import Turn, turn_of_matrix

# Formats of one file that holds pictures. Not here: playlists, which open other files, and formats that take
# any text or bytes for a picture.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc,ivf,obu,m4v,mjpeg,nut,"
    "yuv4mpegpipe,dv,mxf,vc1,wtv,gif"
)
ReadErrors = (av.FFmpegError, OSError, EOFError)
# A frame that stays longer than this is the work of a damaged clock, and would be read as thousands of clips.
MAX_FRAME_S = 3600.0
# So many times as wide as high, or as high as wide, a pixel may be; a header that says more is damaged.
MAX_PIXEL_ASPECT = 4
REPAIR = "Get the file again, or keep what can be read with `ffmpeg -i FILE -c:v libx264 OUT.mp4`"


class VideoStream:
    """The first real video stream of a file, as a `FrameSource`.

    Args:
        path: the file.
        num_threads: threads that decode; 0 lets the decoder choose.

    Raises:
        VideoReadError: if the file is not one of `FORMATS`, has no video stream or no frame that can be
            decoded.
    """

    def __init__(self, path: Path, num_threads: int = 1) -> None:
        self.path, self.num_threads = path, num_threads
        self._turns_taken = 0
        self._container: Any = None
        self._open()
        try:
            first = self._first_frame()
        except BaseException:
            self.close()
            raise
        self.codec: str = self._stream.codec_context.name
        # Tape and DVD store pixels that are not square: frames are scaled to the shape in which they are shown.
        self._shown_size = (max(1, round(first.width * self._pixel_aspect())), first.height)
        matrix = first.side_data.get("DISPLAYMATRIX")
        self._turn = turn_of_matrix(bytes(matrix)) if matrix is not None else Turn()
        self.width, self.height = self._shown_size[::-1] if self._turn.is_swapped else self._shown_size

    @cached_property
    def _packets(self) -> PacketList | None:
        self._take_turn()
        self._open()
        try:
            packets = list_packets(self._container, self._stream)
        except ReadErrors as error:
            raise self._error(f"its packets cannot be read ({_short(error)})", REPAIR) from error
        return packets if packets is not None and len(packets.pts) else None

    @cached_property
    def table(self) -> FrameTable:
        """When each frame is shown: from the packets or, where they do not tell, by decoding all once."""
        if self._packets is not None:
            table = table_of_packets(self._packets, self._container, self._stream)
        else:
            table = self._table_by_decoding()
        longest_s = float(np.diff(table.times_s, append=table.end_s).max())
        if longest_s > MAX_FRAME_S:
            raise self._error(f"its times are damaged: one frame would stay for {longest_s:.0f} s", REPAIR)
        return table

    def _table_by_decoding(self) -> FrameTable:
        self._take_turn()
        slots: list[int] = []
        num_frames = sum(1 for _ in self._decoded(_noting_slots(self._from_start(), slots)))
        if not num_frames:
            raise self._error("it holds no frame that can be decoded", REPAIR)
        rate_fps = float(self._stream.average_rate or self._stream.guessed_rate or FALLBACK_RATE_FPS)
        # Without times every frame is on display as long as the next.
        places, last, missing = np.arange(num_frames), 1.0, 0.0
        if self._container.format.name == "avi" and slots:
            # Its header counts dropped frames too, which are no packets: only places left empty between them.
            last = float(np.median(np.diff(slots))) if len(slots) > 1 else 1.0
            num_dropped = slots[-1] + last - len(slots)
            missing = max(0.0, self._stream.frames - num_frames - num_dropped)
            if len(slots) == num_frames:
                places = np.asarray(slots) - slots[0]
        num_places = float(places[-1] + last)
        return FrameTable(
            places / rate_fps,
            num_places / rate_fps,
            rate_fps * (num_frames / num_places),
            missing_s=missing / rate_fps,
        )

    def entry(self, index: int) -> int:
        """The key frame from which `index` is decoded."""
        key = self._key_before(index)
        if key is None or self._packets is None:
            return 0
        # The key frame itself may be one that is not shown.
        return int(np.searchsorted(self._packets.pts, self._packets.key_pts[key]))

    def walk(self, first: int) -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
        """Decode from the key frame before `first`; frames are made into RGB only when their call is made.

        Raises:
            VideoReadError: by the call of a frame that is damaged, or that follows damage up to the next key
                frame.
            RuntimeError: if another walk was begun meanwhile.
        """
        turn = self._take_turn()
        has_begun = False
        for index, picture in self._decoded(self._from_key(first)):
            # Some files call a frame a key that is none: then only the beginning of the file is sure.
            if not has_begun and index > first:
                break
            has_begun = True
            yield index, picture
            self._check_turn(turn)
        if not has_begun:
            for index, picture in self._decoded(self._from_start()):
                yield index, picture
                self._check_turn(turn)

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> None:
        self.close()
        try:
            self._container = av.open(
                str(self.path),
                metadata_errors="ignore",
                container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            )
        except ReadErrors as error:
            raise self._error(
                f"it is not a video, or its header is damaged ({_short(error)})",
                "Give an mp4, mov, mkv, webm, avi, gif, webp, png or jpg file",
            ) from error
        # The cover picture of a song is a video stream too, by name.
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        usable = [s for s in streams if s.codec_context is not None]
        if not usable:
            cause = "its video is of a kind that cannot be decoded" if streams else "it holds no video stream"
            self.close()
            raise self._error(cause, "Give a file with a picture, or convert it to mp4 (h264)")
        self._stream = usable[0]
        # A photo (heic, avif) of tiles names none of its streams as the one to show, perhaps a small preview too.
        is_tiled = any(s.disposition & Disposition.dependent for s in usable)
        if is_tiled and not self._stream.disposition & Disposition.default:
            self.close()
            raise self._error(
                "its picture is made of tiles, which are not put together here", "Convert it to jpg"
            )
        self._stream.codec_context.thread_count = self.num_threads
        if self.num_threads != 1:
            self._stream.thread_type = "AUTO"

    def _pixel_aspect(self) -> Fraction:
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        return aspect if Fraction(1, MAX_PIXEL_ASPECT) <= aspect <= MAX_PIXEL_ASPECT else Fraction(1)

    def _first_frame(self) -> Any:
        cause = "no data"
        try:
            for packet in self._container.demux(self._stream):
                try:
                    for frame in packet.decode():
                        return frame
                except ReadErrors as error:
                    cause = _short(error)
        except ReadErrors as error:
            cause = _short(error)
        raise self._error(f"it holds no frame that can be decoded ({cause})", REPAIR)

    def _from_start(self) -> Iterator[Any]:
        self._open()
        return self._container.demux(self._stream)

    def _from_key(self, first: int) -> Iterator[Any]:
        """Packets from the key frame before `first`, or from earlier."""
        key = self._key_before(first)
        if key is None or self._packets is None:
            return self._from_start()
        key_pts, key_dts = int(self._packets.key_pts[key]), int(self._packets.key_dts[key])
        # Some formats seek by the time of display, some by the time of decoding: try both, look where it
        # landed.
        for ticks in dict.fromkeys((key_pts, key_dts)):
            try:
                self._container.seek(ticks, stream=self._stream)
                packets = self._container.demux(self._stream)
                packet = next(packets)
            except (*ReadErrors, StopIteration):
                continue
            if packet.pts is not None and packet.pts <= key_pts:
                return chain([packet], packets)
        return self._from_start()

    def _decoded(self, packets: Iterator[Any]) -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
        count, damage, lost = -1, "", ""
        while True:
            try:
                packet = next(packets, None)
            except ReadErrors as error:
                # Nothing can be read on; what the decoder still holds came before.
                packet, lost = None, _short(error)
            if packet is not None and packet.is_corrupt:
                # Not decoded, so that the frames before a cut stay clean; those after a gap do not.
                lost = "a part of its data is missing"
                continue
            if packet is not None and packet.size:
                damage, lost = lost or damage, ""
            try:
                frames = self._stream.decode(packet) if packet is not None else []
            except ReadErrors as error:
                damage = _short(error)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    damage = "the decoder had to make up a part of it"
                elif frame.key_frame:
                    damage = ""
                count += 1
                index = count if self._packets is None else self._index_of(frame.pts)
                if index >= 0:
                    yield index, partial(self._picture, frame, index, damage)
            if packet is None:
                return

    def _picture(self, frame: Any, index: int, damage: str) -> np.ndarray:
        if damage:
            raise self._error(f"frame {index} is damaged ({damage})", REPAIR)
        width, height = self._shown_size
        if not any(part.is_alpha for part in frame.format.components):
            return self._turn(frame.to_ndarray(format="rgb24", width=width, height=height))
        shown = frame.to_ndarray(format="rgba", width=width, height=height).astype(np.uint16)
        colours, opacity = shown[..., :3], shown[..., 3:]
        # On white, as pictures are laid.
        return self._turn(((colours * opacity + 255 * (255 - opacity) + 127) // 255).astype(np.uint8))

    def _index_of(self, pts: int | None) -> int:
        """The number of the frame shown at `pts`, -1 if the packet list has none."""
        assert self._packets is not None
        if pts is None:
            return -1
        index = int(np.searchsorted(self._packets.pts, pts))
        return index if index < len(self._packets.pts) and self._packets.pts[index] == pts else -1

    def _key_before(self, index: int) -> int | None:
        if self._packets is None or not len(self._packets.key_pts):
            return None
        return int(np.searchsorted(self._packets.key_pts, self._packets.pts[index], side="right")) - 1

    def _take_turn(self) -> int:
        self._turns_taken += 1
        return self._turns_taken

    def _check_turn(self, turn: int) -> None:
        if turn != self._turns_taken:
            raise RuntimeError(f"{self.path}: read on in two places at once; open a second reader for that")

    def _error(self, cause: str, remedy: str) -> VideoReadError:
        return VideoReadError(self.path, cause, remedy)


def _noting_slots(packets: Iterator[Any], slots: list[int]) -> Iterator[Any]:
    """The packets as they come; when each whole one is decoded, in ticks, is added to `slots`."""
    for packet in packets:
        if packet.dts is not None and not packet.is_corrupt:
            slots.append(packet.dts)
        yield packet


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split(":")[0]
