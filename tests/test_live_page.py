"""The snippets of docs/live.md run as they are: the first one in one process, the others in another."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from tests.helpers import Finished
from tests.pages import console_with, snippets_of

SNIPPETS = snippets_of("live.md")


def test_every_snippet_can_be_pasted_while_the_first_one_runs(
    run_child: Callable[..., Finished], start_child: Callable[..., subprocess.Popen[str]]
) -> None:
    writer, *others = SNIPPETS
    assert len(others) == 4
    running = start_child(writer)
    child = run_child(console_with(others))
    assert (running.wait(20), child.code, child.err) == (0, 0, "")
    lines = child.out.splitlines()
    assert [line.split(")")[0] for line in lines[:20]] == [f"({i}," for i in range(20)]
    assert lines[0].startswith("(0,) 0.0 ")
    assert lines[19] == "(19,) 19.0 20 of 20"
    assert re.fullmatch(r"<Follower .*live\.npz: 20 of 20 frames, closed>", lines[20])
    assert lines[21:] == ["190", "newest (19,) 19", "True", "20 (19,) True", "[(18,), (19,)]", "3 190"]
