"""Read by Nuke when it has an interface: one entry in the node menu, one folder in the main menu. Never stops Nuke."""

import nuke


def _mattebridge_menu() -> None:
    toolbar = nuke.menu("Nodes")
    toolbar.addCommand("Keyer/MatteBridge", "nuke.createNode('MatteBridge')", icon="MatteBridge.png")


try:
    _mattebridge_menu()
except Exception as reason:
    nuke.tprint(f"mattebridge: no menu entry ({reason}); create the node with Tab, MatteBridge")
