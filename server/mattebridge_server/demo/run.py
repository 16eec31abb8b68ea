"""`mattebridge demo`: a shot whose truth is known, matted by a real server, composited, scored and shown."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mattebridge import Client
from mattebridge.cli.matte import Screen, follow
from mattebridge.cli.output import Teller

from ..media import ColourHints, FrameHeader, Window, read_plate, write_alpha, write_rgb
from ..media.header import CarriedAttribute
from ..metrics.evaluate import Evaluation, evaluate
from .scenes import Frame, make_shot
from .sheet import display, grey, heat, write_sheet

Float32 = NDArray[np.float32]
SHOT = "hair_highlights"
FIRST = 1001
NEW_BACKGROUND = "motion_blur"


@dataclass(frozen=True)
class DemoFiles:
    """Where the demo's pictures lie."""

    folder: Path

    def sequence(self, role: str) -> str:
        """A role's files as a sequence."""
        return str(self.folder / role / f"{role}.####.exr")

    def at(self, role: str, frame: int) -> str:
        """One frame's file."""
        return str(self.folder / role / f"{role}.{frame}.exr")

    @property
    def background(self) -> str:
        """The new background, one picture for all frames."""
        return str(self.folder / "background.exr")


def main(args: argparse.Namespace) -> int:
    """The command. ``args``: out (a folder), frames (a number), width, height."""
    folder = Path(args.out).absolute()
    files = DemoFiles(folder)
    numbers = range(FIRST, FIRST + args.frames)
    say(f"1/4  making {args.frames} frames of {args.width}x{args.height} with known truth in {folder}")
    make_files(files, numbers, args.width, args.height)
    say("2/4  starting a server and matting the shot through it")
    frames = f"{numbers[0]}-{numbers[-1]}"
    seconds = matte(files, frames)
    say("3/4  scoring the alpha, and the mask that it was made from, against the truth")
    truth = files.sequence("truth")
    result, raw = (evaluate(files.sequence(role), truth, frames) for role in ("alpha", "mask"))
    say("4/4  compositing in linear light and drawing the contact sheet")
    sheet = folder / "contact_sheet.png"
    draw(files, numbers, sheet)
    report(files, numbers, result, raw, seconds, sheet)
    return 0


def say(text: str) -> None:
    """One line for the person who waits."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def header(width: int, height: int, frame: int) -> FrameHeader:
    """The header of a made plate: ACEScg, 24 frames a second, a time code that runs."""
    window = Window(0, 0, width, height)
    index = frame - FIRST
    code = (index % 10) | (index // 10 % 3) << 4 | (index // 24) << 8
    return FrameHeader(
        path="",
        frame=frame,
        file_format="openexr",
        data_window=window,
        display_window=window,
        colour=ColourHints(interop_id="lin_ap1_scene"),
        carried=(
            CarriedAttribute("smpte:TimeCode", "timecode", (0x01000000 | code, 0)),
            CarriedAttribute("framesPerSecond", "rational", (24, 1)),
        ),
    )


def make_files(files: DemoFiles, numbers: range, width: int, height: int) -> None:
    """Write plate, mask, truth, true foreground and a new background for every frame."""
    for role in ("plate", "mask", "truth"):
        (files.folder / role).mkdir(parents=True, exist_ok=True)
    shot = make_shot(SHOT, width, height)
    other = make_shot(NEW_BACKGROUND, width, height, seed=7).frame(0).background
    write_rgb(files.background, other, like=header(width, height, FIRST), frame=FIRST)
    for index, number in enumerate(numbers):
        frame: Frame = shot.frame(index)
        like = header(width, height, number)
        write_rgb(files.at("plate", number), frame.plate, like=like, frame=number)
        write_alpha(files.at("mask", number), frame.mask, like=like, frame=number)
        write_alpha(files.at("truth", number), frame.alpha, like=like, frame=number)
        progress("frame", index + 1, len(numbers))


def matte(files: DemoFiles, frames: str) -> float:
    """Matte the shot through a server and return the seconds it took from submit to done."""
    with Client.connect("auto", start=True) as client:
        began = time.monotonic()
        job = client.matte(
            plate=files.sequence("plate"),
            mask=files.sequence("mask"),
            out=files.sequence("alpha"),
            fgr=files.sequence("fgr"),
            comp_over=files.background,
            comp=files.sequence("comp"),
            frames=frames,
            model="edge",
            overwrite=True,
            label="demo",
        )
        screen = Screen(json_lines=False)
        screen.teller = Teller(sys.stdout)
        follow(job, screen)
        return time.monotonic() - began


def progress(what: str, done: int, total: int) -> None:
    """A line that is drawn over itself on a terminal, and left out elsewhere."""
    if sys.stdout.isatty():
        sys.stdout.write(f"     {what} {done} of {total}" + ("\n" if done == total else "\r"))
        sys.stdout.flush()


def draw(files: DemoFiles, numbers: range, sheet: Path) -> None:
    """First, middle and last frame: plate, mask, alpha, composite, error."""
    rows: list[tuple[str, list[Float32]]] = []
    for number in sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]}):
        plate, comp = (read_plate(files.at(role, number), frame=number).pixels for role in ("plate", "comp"))
        mask, alpha, truth = (_coverage(files.at(role, number), number) for role in ("mask", "alpha", "truth"))
        pictures = [display(plate), grey(mask), grey(alpha), display(comp), heat(alpha - truth)]
        rows.append((f"frame {number}", pictures))
    write_sheet(sheet, rows)


def _coverage(path: str, frame: int) -> Float32:
    from ..media import read_header, read_mask

    return read_mask(path, frame=frame, plate_header=read_header(path, frame=frame)).coverage


def report(files: DemoFiles, numbers: range, result: Evaluation, raw: Evaluation, seconds: float, sheet: Path) -> None:
    """Scores, places and the same by hand: for these frames, since a longer demo may have left more in the folder."""
    frames = f"--frames {numbers[0]}-{numbers[-1]}"
    say(f"\n     {'':8}" + "".join(f"{name:>9}" for name in result.mean) + "   (lower is better)")
    for name, scores in (("alpha", result), ("mask", raw)):
        say(f"     {name:8}" + "".join(f"{value:>9.3f}" for value in scores.mean.values()))
    say(f"\n     {len(numbers)} frames in {seconds:.1f} s ({len(numbers) / seconds:.2f} frames/s, two outputs more)")
    say(f"     look at    {sheet}")
    say(f"     alpha      {files.sequence('alpha')}")
    say(f"     foreground {files.sequence('fgr')}")
    say(f"     composite  {files.sequence('comp')}")
    say("\nThe same by hand:")
    say(f"  mattebridge matte --plate '{files.sequence('plate')}' --mask '{files.sequence('mask')}' \\")
    say(f"      --out '{files.folder}/alpha_{{version}}/alpha.####.exr' {frames}")
    say(f"  mattebridge eval --alpha '{files.sequence('alpha')}' --truth '{files.sequence('truth')}' {frames}")
    say("  mattebridge status        # the server that this demo started; `mattebridge stop` ends it")
