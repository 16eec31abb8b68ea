"""The eight shots that the benchmarks run on: the generator is the demo's, so that a user sees what is measured.

from scenes import SHOTS, make_shot
for frame in make_shot("clutter", 1920, 1080).frames(3): ...
"""

from mattebridge_server.demo.scenes import SHOTS, Frame, Recipe, Shot, make_shot

__all__ = ["SHOTS", "Frame", "Recipe", "Shot", "make_shot"]
