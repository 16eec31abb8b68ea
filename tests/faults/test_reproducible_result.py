"""Promise 22. A result says what made it, and chunks under one plan are the whole shot, bit for bit.

`edge` and the network models are held to the same in tests/mattebridge_server/pipeline.
"""

import OpenImageIO as oiio
import pytest
from real_shot import make_shot, read_alpha, start_real

from mattebridge import messages as m

FRAMES = range(1001, 1025)
CHUNKINGS = [("1001-1024",), ("1001-1008", "1009-1016", "1017-1024"), ("1001-1005", "1006", "1007-1024")]


def pixels_and_keys(folder):
    found = {}
    for path in sorted(folder.glob("m.*.exr")):
        opened = oiio.ImageInput.open(str(path))
        attributes = {item.name: item.value for item in opened.spec().extra_attribs}
        opened.close()
        found[path.name] = (read_alpha(path).tobytes(), attributes["mattebridge:key"])
    return found


def test_any_chunking_under_one_plan_is_the_whole_shot(broker, folder):
    job = make_shot(folder / "shot", FRAMES)
    client = start_real(broker)
    client.submit("plan", **{**job, "kind": "plan", "out": ""})
    assert isinstance(client.end_of("plan"), m.Done)
    (plan,) = client.blobs
    whole = None
    for number, chunks in enumerate(CHUNKINGS):
        out = folder / f"out{number}"
        for chunk in chunks:
            fields = {**job, "frames": chunk, "shot": "1001-1024", "out": f"{out}/m.####.exr"}
            client.submit(f"c{number}-{chunk}", plan=plan, **fields)
            ended = client.end_of(f"c{number}-{chunk}")
            assert isinstance(ended, m.Done), ended
        found = pixels_and_keys(out)
        assert len(found) == len(FRAMES)
        whole = whole or found
        assert found == whole


@pytest.mark.parametrize("change", ["mask", "parameter"])
def test_what_changes_a_result_changes_its_key(broker, folder, change):
    job = make_shot(folder / "shot", range(1001, 1003))
    client = start_real(broker)
    client.submit("one", **job)
    client.end_of("one")
    if change == "mask":
        make_shot(folder / "other", range(1011, 1013))
        for frame in (1001, 1002):
            (folder / "other" / f"mask.{frame + 10}.exr").replace(folder / "shot" / f"mask.{frame}.exr")
    else:
        job["mask_invert"] = True
    client.submit("two", **job)
    ended = client.end_of("two")
    assert ended.error.code == "OUTPUT_EXISTS", "a result with another key was mixed in or overwritten"
    client.submit("three", **{**job, "overwrite": True})
    assert client.end_of("three").written == 2
