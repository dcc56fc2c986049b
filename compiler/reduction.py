"""The smallest model of which something is still true, by trying smaller and smaller ones (delta debugging)."""

import hashlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tilewright.errors import InputError, resources

from .frontend.onnx.smaller_models import ReducibleModel

Test = Callable[[bytes], str | None]
"""Of a model, as the contents of its file: None where it still fails, otherwise what was found instead."""


@dataclass
class Reduction:
    """A reduction under way.

    Attributes:
        test: tells of a model whether it still fails.
        limit: how many models are tried at most.
        keep: called with each smaller model that still fails.
        report: called with how many models were tried, and the limit.
    """

    test: Test
    limit: int = 1000
    keep: Callable[[bytes], object] = lambda content: None
    report: Callable[[int, int], object] = lambda tries, limit: None
    tries: int = 0
    _known: set[bytes] = field(default_factory=set)

    @resources("reduce")
    def run(self, model: ReducibleModel) -> ReducibleModel:
        """The smallest model that was found.

        Nodes are taken away first, in halves, quarters and so on; then single ones are bypassed, extents made smaller,
        and constants plain, until nothing of that helps or the limit is reached.
        Raises InputError: the model itself does not fail."""
        found = self._tried(model.content())
        if found is not None:
            raise InputError(
                "the model does not fail",
                stage="reduce",
                expected="exit code 0 of the command, which says that it still fails",
                found=found,
                hint="Turn the command round, such as: ! COMMAND {}, or COMMAND {} | grep -q TEXT.",
            )
        while True:
            before = model
            model = self._fewer_nodes(model)
            for steps in (_bypassed, ReducibleModel.smaller, ReducibleModel.plainer):
                while (found := self._first(steps(model))) is not None:
                    model = found
            if len(model.nodes) == len(before.nodes) or self.tries >= self.limit:
                return model

    def _fewer_nodes(self, model: ReducibleModel) -> ReducibleModel:
        """Parts of the graph: without, or with only, one of two pieces, of four, of eight, and so on."""
        pieces = 2
        while len(model.nodes) > 1 and self.tries < self.limit:
            count = len(model.nodes)
            pieces = min(pieces, count)
            bounds = [count * number // pieces for number in range(pieces + 1)]
            parts = [range(*pair) for pair in pairwise(bounds)]
            every = {*range(count)}
            found = self._first(model.only(kept) for kept in (*map(set, parts), *(every - {*part} for part in parts)))
            if found is not None:
                model, pieces = found, 2 if len(found.nodes) <= -(-count // pieces) else max(pieces - 1, 2)
            elif pieces == count:
                break
            else:
                pieces *= 2
        return model

    def _first(self, candidates: Iterator[bytes | None]) -> ReducibleModel | None:
        """The first of these models that still fails, kept and reported."""
        for content in candidates:
            if self.tries >= self.limit:
                return None
            if content is not None and self._tried(content) is None:
                found = ReducibleModel.parse(content)
                self.keep(content)
                return found
        return None

    def _tried(self, content: bytes) -> str | None:
        """What was found in place of the failure; None where it still fails."""
        digest = hashlib.sha256(content).digest()
        if digest in self._known:
            return "a model that was tried before"
        self._known.add(digest)
        self.tries += 1
        found = self.test(content)
        self.report(self.tries, self.limit)
        return found


def _bypassed(model: ReducibleModel) -> Iterator[bytes]:
    for position in reversed(range(len(model.nodes))):
        yield from model.without(position)


PLACE = "{}"
"""What stands for the path of the model in a command."""


def command_test(command: str, path: Path, seconds: float) -> Test:
    """A test that runs a command of the shell on a model.
    ``command``: exits with 0 where the model still fails; ``{}`` in it is the path, which else stands behind it.
    ``path``: a file to write the models into.
    ``seconds``: after so many the command is ended, and the model does not count as failing."""
    quoted = shlex.quote(os.fspath(path))
    line = command.replace(PLACE, quoted) if PLACE in command else f"{command} {quoted}"

    def test(content: bytes) -> str | None:
        path.write_bytes(content)
        process = subprocess.Popen(
            line,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
            known = {126: ", a command that may not be run", 127: ", a command that is not there"}
            return f"{code}{known.get(code, '')}" if code else None
        except subprocess.TimeoutExpired:
            return f"none within {seconds:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    return test
