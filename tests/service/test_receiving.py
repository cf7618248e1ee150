"""The room that uploads share: the reserve is looked after while bytes come, and what was announced is kept."""

from __future__ import annotations

import pytest

from service.receiving import Room
from tasks.errors import DiskFull

RESERVE_BYTES = 100
STEP_BYTES = 10


class Volume:
    """A disk whose free room the test decides."""

    def __init__(self, free: int) -> None:
        self.free, self.looks = free, 0

    async def free_bytes(self) -> int:
        self.looks += 1
        return self.free


@pytest.fixture
def volume() -> Volume:
    return Volume(free=200)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(Room, "look_again_bytes", STEP_BYTES)
    return Room()


async def test_the_reserve_is_looked_after_while_a_body_of_unknown_length_comes(room: Room, volume: Volume) -> None:
    with room.claimed(volume.free_bytes, RESERVE_BYTES) as claim:
        await claim.promise(0)
        await claim.take(STEP_BYTES)
        volume.free = RESERVE_BYTES
        with pytest.raises(DiskFull):
            await claim.take(STEP_BYTES)


async def test_the_volume_is_looked_at_once_a_step_of_all_uploads_together(room: Room, volume: Volume) -> None:
    with (
        room.claimed(volume.free_bytes, RESERVE_BYTES) as first,
        room.claimed(volume.free_bytes, RESERVE_BYTES) as second,
    ):
        for _ in range(STEP_BYTES):
            await first.take(1)
            await second.take(1)
        assert volume.looks == 2
        volume.free = 0
        await first.take(STEP_BYTES - 1)
        for claim in (first, second):
            with pytest.raises(DiskFull):
                await claim.take(1)


async def test_what_was_announced_is_kept_until_it_came_or_its_upload_ended(room: Room, volume: Volume) -> None:
    with room.claimed(volume.free_bytes, RESERVE_BYTES) as other:
        with room.claimed(volume.free_bytes, RESERVE_BYTES) as promised:
            await promised.promise(95)
            with pytest.raises(DiskFull):
                await other.promise(6)
            with pytest.raises(DiskFull):
                await other.take(STEP_BYTES)
            await promised.take(60)
            assert room.promised_bytes == 35
        assert room.promised_bytes == 0
        await other.promise(6)
