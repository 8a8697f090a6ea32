"""How far a stage is, told now and then."""

from __future__ import annotations

from selftaught.trainer.pace import Pace


def test_it_tells_at_most_every_half_minute_how_far_a_stage_is_and_how_long_it_takes() -> None:
    now, told = [0.0], list[str]()
    pace = Pace(told.append, "puzzles", lambda: now[0])
    for seconds, done in ((0, 100), (10, 110), (31, 131), (32, 132), (62, 162)):
        now[0] = seconds
        pace(done, 1000, f"{done // 10} pairs")
    assert told == [
        "  131 of 1,000 puzzles, 13 pairs, 14 min 29 s left",
        "  162 of 1,000 puzzles, 16 pairs, 13 min 58 s left",
    ], "what an earlier process did costs no time"
    pace(1000, 1000, now=True)
    assert told[-1] == "  1,000 of 1,000 puzzles"
