"""The outbox: events of a shop, kept in a log on disk first, delivered by a thread behind it.

    Outbox.track ─▶ Tray (a log per worth, one directory per process) ─▶ Waiting ─▶ Trays (a Source) ─▶ Pump ─▶ the service
                                                                          Tally ◀─ delivered, refused, shed

`outbox` is what a shop imports; `inspection` is for whoever looks after the directory.
"""

from footfall.client.outbox.outbox import Outbox, Stats

__all__ = ["Outbox", "Stats"]
