"""The end of the pipe keeps as many cores busy as the server was given, within the machine's memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mattebridge_server.models.base import FrameResult
from mattebridge_server.pipeline.tail import Tail, workers_for

HD, UHD = 1920 * 1080, 3840 * 2160
GIB = 2**30


@pytest.mark.parametrize(
    ("threads", "pixels", "memory", "expected"),
    [(1, HD, 64 * GIB, 2), (2, UHD, 8 * GIB, 2), (8, HD, 64 * GIB, 8), (8, UHD, 64 * GIB, 4), (32, HD, 8 * GIB, 2)],
)
def test_frames_are_finished_on_all_threads_as_far_as_memory_goes(threads, pixels, memory, expected):
    assert workers_for(threads, pixels, memory) == expected


class Meeting:
    """Finishes a frame when ``expected`` frames are being finished at once."""

    def __init__(self, expected: int) -> None:
        self._barrier = threading.Barrier(expected, timeout=20)
        self.wrote: list[int] = []

    def finish(self, result: FrameResult) -> int:
        self._barrier.wait()
        return result.number

    def write(self, number: int, key: str) -> list[tuple[str, str]]:
        self.wrote.append(number)
        return []


class NoKeys:
    def of(self, frame: int) -> str:
        return ""


def test_as_many_frames_are_finished_at_once_as_there_are_workers():
    meeting, told = Meeting(3), []
    alpha = np.zeros((2, 2), np.float32)
    with Tail(meeting, NoKeys(), lambda frame, files, key: told.append(frame), 3) as tail:
        for frame in range(1, 7):
            tail.take(FrameResult(frame, alpha))
    assert sorted(meeting.wrote) == sorted(told) == [1, 2, 3, 4, 5, 6]


def test_a_frame_that_cannot_be_finished_ends_the_job():
    class Broken(Meeting):
        def finish(self, result: FrameResult) -> int:
            raise ValueError("broken")

    with (
        pytest.raises(ValueError, match="broken"),
        Tail(Broken(1), NoKeys(), lambda frame, files, key: None, 2) as tail,
    ):
        for frame in range(1, 7):
            tail.take(FrameResult(frame, np.zeros((2, 2), np.float32)))
