"""A stream's packets, listed without decoding: when each frame is shown and where decoding can begin."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from divot.video.frame_table import FrameTable

# These hold no times of display, only an order: what is reported for reordered frames is a guess, often
# wrong.
UNTIMED_FORMATS = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo", "mjpeg", "vc1"})
# A rate nobody wrote down.
FALLBACK_RATE_FPS = 25.0
# The longest block of sound to expect where neither its length nor a second block tells: WavPack at 8 kHz.
FALLBACK_BLOCK_S = 5.0


@dataclass(frozen=True)
class PacketList:
    """Display times of a stream's frames, in ticks, sorted.

    Attributes:
        pts: of every frame, int64 [n], strictly increasing.
        key_pts: of the frames where decoding can begin, int64 [k], increasing.
        key_dts: when those are decoded, int64 [k].
        last_ticks: how long the last frame stays.
        num_packets: packets of the stream, those that show nothing included.
        streams_end_s: when the last packet of any stream ends, at the latest, seconds on the file's clock.
        last_dts: when the last packet is decoded.
        is_cut: whether the last packet is not all there.
    """

    pts: np.ndarray
    key_pts: np.ndarray
    key_dts: np.ndarray
    last_ticks: int
    num_packets: int
    streams_end_s: float
    last_dts: int | None
    is_cut: bool


def list_packets(container: Any, stream: Any) -> PacketList | None:
    """Read all packets from where the container stands.

    Returns:
        The list, or None if the packets do not tell when frames are shown (then only decoding does).

    Raises:
        av.FFmpegError: if the file cannot be read on; what was found before a cut in the data is kept.
    """
    pts, key_pts, key_dts = array("q"), array("q"), array("q")
    num_packets, ends_s, last_ticks, is_cut = 0, 0.0, 0, False
    endless: dict[Any, array[int]] = {}
    is_timed = container.format.name not in UNTIMED_FORMATS
    codec = stream.codec_context.name
    # Matroska's header promises a length for all streams together: only all of them tell if it was kept.
    streams = container.streams.get() if container.format.name.startswith("matroska") else [stream]
    newest: int | None = None
    last_dts: int | None = None
    try:
        for packet in container.demux(streams):
            if packet.dts is None and packet.pts is None and not packet.size:
                continue  # the end-of-stream mark
            if packet.pts is not None and packet.time_base is not None:
                ends_s = max(ends_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if not packet.duration and packet.stream.type in ("audio", "video"):
                    endless.setdefault(packet.stream, array("q")).append(packet.pts)
            if packet.stream_index != stream.index:
                continue
            num_packets += 1
            is_cut, last_dts = packet.is_corrupt, packet.dts
            if packet.is_keyframe and packet.pts is not None:
                key_pts.append(packet.pts)
                key_dts.append(packet.dts if packet.dts is not None else packet.pts)
            # An edit list keeps frames in the file that are decoded for others' sake and not shown.
            if not packet.size or packet.is_discard or (codec == "vp8" and _is_hidden(packet)):
                continue
            if packet.pts is None or (not is_timed and packet.pts != packet.dts):
                return None
            pts.append(packet.pts)
            if newest is None or packet.pts > newest:
                newest, last_ticks = packet.pts, packet.duration or 0
    except av.FFmpegError:
        if not pts:
            raise
        is_cut = True
    for other, begins in endless.items():
        ends_s = max(ends_s, _likely_end_s(np.asarray(begins, np.int64), float(other.time_base)))
    if is_cut and len(pts) > 1:
        pts.pop()  # the cut goes through it
    sorted_pts = np.sort(np.asarray(pts, np.int64))
    order = np.argsort(np.asarray(key_pts, np.int64), kind="stable")
    keys, key_dts_sorted = np.asarray(key_pts, np.int64)[order], np.asarray(key_dts, np.int64)[order]
    if len(keys):
        # A recording may begin in the middle: what is shown before its first key frame cannot be decoded.
        sorted_pts = sorted_pts[sorted_pts >= keys[0]]
    if (np.diff(sorted_pts) <= 0).any():
        return None
    return PacketList(sorted_pts, keys, key_dts_sorted, last_ticks, num_packets, ends_s, last_dts, is_cut)


def table_of_packets(packets: PacketList, container: Any, stream: Any) -> FrameTable:
    """The times in seconds, from the first frame on, and how much of what the header promises is missing."""
    tick_s, header_fps = float(stream.time_base), float(stream.average_rate or 0)
    times_s = (packets.pts - packets.pts[0]) * tick_s
    last_s = packets.last_ticks * tick_s
    if last_s <= 0 and len(times_s) > 1:
        last_s = float(np.median(np.diff(times_s)))
    elif last_s <= 0:
        last_s = 1 / (header_fps or FALLBACK_RATE_FPS)
    end_s = float(times_s[-1]) + last_s
    missing_s = _missing_s(packets, container, stream, end_s)
    # A frame is never shown before it is decoded, so up to the last time of decoding nothing is lost; past it
    # the cut may have left holes between reordered frames.
    sure = int((packets.pts <= packets.last_dts).sum()) if packets.last_dts is not None else len(times_s)
    if missing_s and 0 < sure < len(times_s):
        promised_end_s = end_s + missing_s
        end_s = min(float(times_s[sure]), float(times_s[sure - 1]) + last_s)
        times_s, missing_s = times_s[:sure], promised_end_s - end_s
    rate_fps = len(times_s) / end_s
    # The header's rate has no rounding of times in it; but some headers hold a limit, not an average.
    if abs(rate_fps - header_fps) <= 0.01 * rate_fps:
        rate_fps = header_fps
    return FrameTable(times_s, end_s, rate_fps, tick_s, missing_s)


def _missing_s(packets: PacketList, container: Any, stream: Any, end_s: float) -> float:
    """Seconds of video that the header speaks of and the file does not have."""
    name, missing_s = container.format.name, 0.0
    frame_s = 1 / float(stream.average_rate or FALLBACK_RATE_FPS)
    if name.startswith("mov"):
        # Both must fall short: an edit list leaves frames out of a whole file, but shortens its length too.
        if packets.num_packets < stream.frames and stream.duration:
            missing_s = float(stream.duration * stream.time_base) - end_s
    elif name == "avi":
        # The header counts dropped frames too, which are no packets, only time between two of them.
        missing_s = stream.frames * frame_s - packets.streams_end_s
    elif name.startswith("matroska") and container.duration:
        missing_s = container.duration / av.time_base - packets.streams_end_s
    if packets.is_cut:
        missing_s = max(missing_s, frame_s)
    # Headers round, by less than a frame.
    return missing_s if missing_s > 0.75 * frame_s else 0.0


def _likely_end_s(begins: np.ndarray, tick_s: float) -> float:
    """When a stream ends whose packets do not say how long they last: the last lasts no longer than another."""
    longest_s = float(np.diff(np.sort(begins)).max()) * tick_s if len(begins) > 1 else FALLBACK_BLOCK_S
    return float(begins.max()) * tick_s + longest_s


def _is_hidden(packet: Any) -> bool:
    # VP8 stores reference pictures that are never shown as packets of their own: the flag is bit 4 of the
    # first byte.
    return not (bytes(packet)[0] >> 4) & 1
