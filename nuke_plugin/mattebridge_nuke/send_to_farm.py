"""Send to farm: the button. Inputs, plan, bundle, and the hand-over where a submitter is installed.

    main thread    gather facts, refuse -> | render, open the version |                             | node waits
    worker                                                            | plan -> bundle -> submit -> |

No server is asked and none is started: the plan is made by `mattebridge plan`, which checks what a server would.
"""

from __future__ import annotations

from mattebridge.errors import UsageError

from . import command_line, farm, host, result, script_facts, status_text
from .background import Background
from .command_line import CommandLine
from .farm import NodeJob
from .script_facts import NodeFacts

FOLDER = "farm"
COMP_WRITE = "comp_write"


def start(node: host.Node) -> None:
    """Main thread. Raises `UsageError` and `InputError` for what cannot work."""
    unsaved = host.unsaved_changes()
    facts = script_facts.gather(node)
    script_facts.require_folder(facts)
    if facts.settings.delivery == "exr":
        raise UsageError(
            "transfer is exr, and the machines of a farm read and write the files themselves",
            remedy="Set transfer to automatic on the Server tab; the farm must see these folders.",
        )
    write = str(host.get(node, COMP_WRITE)).strip()
    if write:
        farm.refuse_comp(node, write)
        if unsaved:
            raise UsageError("the farm renders the comp as it was saved", remedy="Save the script, then press again.")
    SendToFarm(node, facts, write).start()


class SendToFarm(Background):
    """``bundles`` are the folders that were made."""

    def __init__(self, node: host.Node, facts: NodeFacts, write: str) -> None:
        super().__init__(node, facts.settings.name, "send to farm", facts.folder)
        self.facts = facts
        self.write = write
        self.bundles: list[str] = []
        self._command = CommandLine()

    def stop(self) -> None:
        self._command.cancel()

    def work(self) -> str:
        self.say(status_text.stage_name("render"))
        jobs = host.on_main(self._prepare)
        folder = f"{self.facts.folder}/{FOLDER}"
        for job in jobs:
            self.stop_if_cancelled()
            self.say("planning the shot", 20)
            bundle = farm.make_bundle(self._command, job, folder, self.bundles, self.facts.script, self.write)
            self.bundles.append(bundle)
        self.stop_if_cancelled()
        version = jobs[0].version
        if not command_line.has_submitter():
            host.on_main(lambda: result.wait_for(self.node, version))
            return status_text.to_hand_over(version, [command_line.submit_line(bundle) for bundle in self.bundles])
        self.say("handing the job to the farm", 80)
        said = [self._command.submit(bundle) for bundle in self.bundles]
        host.on_main(lambda: result.wait_for(self.node, version))
        return status_text.handed_over(version, said)

    def _prepare(self) -> list[NodeJob]:
        """Main thread."""
        _, jobs = farm.prepare_node(self.node, self.stop_if_cancelled)
        if all(job.complete for job in jobs):
            version = jobs[0].version
            raise UsageError(
                f"every frame of {version} is there", remedy=f"Press Reload, then choose {version} in the version menu."
            )
        return jobs
