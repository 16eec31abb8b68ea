"""Troubleshoot: every link between the node and a matte, tested in order, with a remedy for what fails."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

from mattebridge.errors import MatteBridgeError

from . import bridge, host, job_request, script_facts, status_text, versions
from .bridge import Bridge
from .script_facts import NodeFacts


@dataclass(frozen=True)
class Finding:
    """One link of the chain."""

    title: str
    ok: bool
    text: str
    remedy: str = ""


def start(node: host.Node) -> threading.Thread:
    """Tests in the background, then shows one dialog."""
    findings = [_try("Nuke and Python", lambda: f"Nuke {host.nuke_version()}, Python {sys.version.split()[0]}")]
    facts: list[NodeFacts] = []
    findings.append(_try("this node", lambda: _describe(facts, node)))
    server = str(host.get(node, "server")).strip() or "auto"
    worker = threading.Thread(
        target=_work, args=(node, server, findings, facts[0] if facts else None), name="mattebridge test", daemon=True
    )
    if host.gui():
        worker.start()
    else:
        worker.run()
    return worker


def report(findings: list[Finding]) -> str:
    """One line per link, the remedy below what failed."""
    lines = []
    for finding in findings:
        lines.append(f"[{'ok' if finding.ok else 'FAILED'}] {finding.title}: {finding.text}")
        if finding.remedy:
            lines.append(f"     {finding.remedy}")
    return status_text.in_knobs("\n".join(lines))


def _describe(facts: list[NodeFacts], node: host.Node) -> str:
    found = script_facts.gather(node)
    script_facts.require_folder(found)
    facts.append(found)
    ways = ", ".join(f"{role} {_way(source)}" for role, source in found.sources.items())
    return f"{len(found.shot)} frames ({found.shot}); {ways}; {found.colour.text}"


def _way(source: object) -> str:
    return f"is rendered: {getattr(source, 'reason', '')}" if hasattr(source, "reason") else "goes by path"


def _work(node: host.Node, server: str, findings: list[Finding], facts: Optional[NodeFacts]) -> None:
    findings.append(_try("pyzmq and msgpack", _libraries))
    if findings[-1].ok:
        findings += _server_findings(server, facts)
    text = report(findings)
    failed = [finding for finding in findings if not finding.ok]
    status = f"failed: {failed[0].title}" if failed else "everything answers"
    host.post(lambda: host.put_quiet(node, {"status": status}))
    host.tell(text)


def _libraries() -> str:
    bridge.ready()
    import msgpack
    import zmq

    return f"pyzmq {zmq.__version__}, msgpack {'.'.join(str(part) for part in msgpack.version)}"


def _server_findings(server: str, facts: Optional[NodeFacts]) -> list[Finding]:
    found: list[Finding] = []
    connections: list[Bridge] = []
    found.append(_try("server", lambda: _connect(server, connections)))
    if not connections:
        return found
    with connections[0] as connection:
        found.append(_try("models", lambda: ", ".join(info.name for info in connection.models() if info.installed)))
        if facts is not None:
            found += _check_findings(connection, facts)
    return found


def _connect(server: str, connections: list[Bridge]) -> str:
    connections.append(Bridge.connect(server))
    return connections[0].describe_server()


def _check_findings(connection: Bridge, facts: NodeFacts) -> list[Finding]:
    plan = job_request.plan(facts)
    number = versions.next_number(versions.on_disk(facts.folder))
    roles = job_request.output_roles(facts)
    patterns = versions.role_patterns(facts.folder, facts.settings.name, number, roles, facts.several_views)
    requests = [job_request.request(plan, view, patterns, facts.settings.delivery) for view in facts.views]
    try:
        result = connection.check(requests)
    except MatteBridgeError as reason:
        return [Finding("check", False, reason.message, reason.remedy)]
    problems = job_request.problems_before_render(result.problems, plan)
    if not problems:
        return [Finding("check", True, "the server would take this job")]
    return [Finding(f"check ({problem.code})", False, problem.message, problem.remedy) for problem in problems]


def _try(title: str, test: Callable[[], str]) -> Finding:
    try:
        return Finding(title, True, test())
    except MatteBridgeError as reason:
        return Finding(title, False, reason.message, reason.remedy)
