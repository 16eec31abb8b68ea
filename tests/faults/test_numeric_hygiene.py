"""Promise 16. NaN, infinity and absurd values are repaired and counted by frame; results are finite, 0 to 1."""

import numpy as np
from real_shot import HEIGHT, WIDTH, make_shot, read_alpha, start_real, write_exr

from mattebridge import messages as m

FRAMES = range(1001, 1007)


def test_nothing_but_finite_alpha_comes_out_and_every_repair_is_told(broker, folder):
    job = make_shot(folder / "shot", FRAMES)
    values = {1001: np.nan, 1002: np.inf, 1003: -np.inf, 1004: 6e4, 1005: -5.0}
    for frame, value in values.items():
        plate = np.full((HEIGHT, WIDTH, 3), 0.25, np.float32)
        plate[10:20, 10:20] = value
        write_exr(folder / "shot" / f"plate.{frame}.exr", plate)
        mask = np.zeros((HEIGHT, WIDTH, 1), np.float32)
        mask[5:30, 5:30] = 1.0
        mask[12:16, 12:16] = value
        write_exr(folder / "shot" / f"mask.{frame}.exr", mask, ("A",))
    client = start_real(broker)
    client.submit("job", **job)
    done = client.end_of("job")
    assert isinstance(done, m.Done), done
    for frame in FRAMES:
        alpha = read_alpha(folder / "shot" / "out" / f"matte.{frame}.exr")
        assert np.isfinite(alpha).all(), frame
        assert alpha.min() >= 0.0, frame
        assert alpha.max() <= 1.0, frame
    told = {one.frame for one in client.events() if isinstance(one, m.Warning_) and one.code == "NON_FINITE"}
    assert told == {1001, 1002, 1003}
