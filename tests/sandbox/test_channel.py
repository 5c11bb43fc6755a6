"""Frames: put together from any pieces, refused when too long or no objects."""

import os

from hypothesis import given
from hypothesis import strategies as st
import pytest

from sandbox import channel

_FRAMES = [{"a": 1}, {}, {"ask": ["ü" * 50]}]


@given(st.lists(st.integers(1, 20), min_size=1))
def test_frames_survive_any_cutting(sizes):
    stream = b"".join(map(channel.encode, _FRAMES))
    inbox, found, at = channel.Inbox(), [], 0
    while at < len(stream):
        size = sizes[at % len(sizes)]
        found += inbox.feed(stream[at : at + size])
        at += size
    assert found == _FRAMES


@pytest.mark.parametrize(
    "bad",
    [
        b"\xff" * 4,
        b"\0\0\0\1[",
        b"\0\0\0\2[]",
        b"\0\0\0\1\xff",
        b"\0\1\0\0" + b"[" * 2**16,
    ],
)
def test_what_precedes_a_bad_frame_still_counts(bad):
    frames = channel.Inbox().feed(channel.encode({"ready": True}) + bad)
    assert next(frames) == {"ready": True}
    with pytest.raises(ValueError):
        list(frames)


@given(st.binary(max_size=100))
def test_noise_is_refused_or_waited_on(noise):
    try:
        frames = list(channel.Inbox().feed(noise))
    except ValueError:
        return
    assert all(isinstance(frame, dict) for frame in frames)


def test_a_closed_channel_is_noticed():
    ours, theirs = os.pipe()
    os.close(theirs)
    with pytest.raises(ConnectionError, match="closed"):
        channel.Pipe(ours).receive()
    os.close(ours)
