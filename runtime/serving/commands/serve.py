"""Serve artifacts over HTTP, by the Open Inference Protocol of version 2.

Each artifact is a model called after its file, of version 1, unless NAME=FILE or NAME:VERSION=FILE says otherwise. A
request that names no version goes to the highest. Clients of KServe, Triton (tritonclient.http) and others ask
GET /v2/models/NAME what a model takes and POST /v2/models/NAME/infer to compute it; GET /v2/health/ready answers when
all models are loaded, and GET /metrics is for Prometheus.

Only programs on this machine reach it unless --host says otherwise; there are no passwords and no encryption, so put a
proxy in front where strangers are. SIGTERM ends it in order: requests that have begun are answered.

Examples:
  tilewright serve mobilenet.twa
  tilewright serve mobilenet.twa --batch mobilenet --port 9000
  tilewright serve digits:1=old.twa digits:2=new.twa minilm.twa --host 0.0.0.0
"""

import argparse
from contextlib import ExitStack
from typing import TypedDict

from ...commands.console import tell
from ...commands.parser import add_engine, seconds, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    artifacts = "Artifacts made by `tilewright compile`, and what they are called."
    parser.add_argument("artifacts", nargs="+", metavar="[NAME[:VERSION]=]FILE.twa", help=artifacts)
    host = "The address to listen on; 0.0.0.0 is every one of this machine."
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=host)
    parser.add_argument(
        "--port", type=whole_number(0), default=8000, metavar="N", help="The port to listen on; 0 is any that is free."
    )
    load = parser.add_argument_group("Load")
    batch = (
        "Compute requests for this model together: what waits is laid behind one another along the first extent, "
        "and zeros up to the next batch that the artifact has. For networks that compute each item by itself, compiled "
        "with a batch or several shapes, such as --input-shape batch=1,4,8."
    )
    load.add_argument("--batch", action="append", default=[], metavar="MODEL", help=batch)
    queue = "Requests for a model that may wait; further ones are answered with 429."
    load.add_argument("--queue", type=whole_number(0), default=64, metavar="N", help=queue)
    timeout = (
        "How long the body of a request may take to arrive (408), then to wait and be computed (504), and how "
        "long what has begun may take at the end."
    )
    load.add_argument("--timeout", type=seconds, default=30.0, metavar="SECONDS", help=timeout)
    load.add_argument(
        "--workers", type=whole_number(1), default=1, metavar="N", help="Runs of a model that are computed at once."
    )
    threads = "Threads that compute a run on the CPU. Default: as for `tilewright run`."
    load.add_argument("--threads", type=whole_number(1), metavar="N", help=threads)
    add_engine(parser)
    trust = "Serve only what is signed by this key (ed25519:…) or has this digest (sha256:…); see `tilewright run`."
    parser.add_argument("--trust", metavar="KEY", help=trust)


class Answered(TypedDict):
    """How many requests for inference were answered with which status of HTTP."""

    answered: dict[str, int]


def run(arguments: argparse.Namespace) -> str | Answered:
    """What it prints, when it is told to end."""
    import tilewright

    from ...session import load
    from ..application import Application
    from ..server import address_of, check_batched, listen, model_of, named, serve

    artifacts = named(arguments.artifacts)
    check_batched(arguments.batch, artifacts)
    listening = listen(arguments.host, arguments.port)
    with ExitStack() as closing:
        closing.callback(listening.close)
        models = []
        for artifact in artifacts:
            session = load(
                artifact.path,
                engine=arguments.engine,
                threads=arguments.threads,
                workers=arguments.workers,
                queue=arguments.workers,
                trust=arguments.trust,
            )
            closing.enter_context(session)
            is_batched = artifact.name in arguments.batch
            model = model_of(artifact, session, batched=is_batched, workers=arguments.workers, queue=arguments.queue)
            models.append(model)
        application = Application(models, tilewright.__version__, arguments.timeout)
        names = ", ".join(f"{each.name} {each.version}" for each in artifacts)
        note = f"listening on {address_of(listening)}: {names}"
        serve(application.asgi, listening, arguments.timeout, lambda: tell("note", note, quiet=arguments.quiet))
    answered = {str(status): count for status, count in sorted(application.answered.items())}
    if arguments.json:
        return {"answered": answered}
    each = ", ".join(f"{count} with {status}" for status, count in answered.items())
    return f"Answered {sum(application.answered.values())} requests for inference{': ' if each else ''}{each}.\n"
