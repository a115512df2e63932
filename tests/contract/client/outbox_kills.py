"""Shops that are killed again and again over one directory, each taking up what the one before left."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from footfall.client.outbox import Outbox
from footfall.client.outbox.inspection import list_trays
from tests.contract.delivery.receiver import Receiver, answer


class Report(NamedTuple):
    promised: int
    arrived: int
    repeated: int
    lost: set[str]
    damaged: int


def kill_shops(directory: Path, *, kills: int, random: random.Random) -> Report:
    """Half of the shops meet a receiver that is out of order, so that there is always something left to take up."""
    program = str(Path(__file__).with_name("outbox_shop.py"))
    promised: set[str] = set()
    with Receiver() as receiver:
        for number in range(kills):
            status = 503 if random.random() < 0.5 else 200
            receiver.script(answer(status))
            seen = len(receiver.arrivals)
            command = [sys.executable, program, "tracks_for_ever", str(directory), receiver.url, f"s{number}"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as shop:
                assert shop.stdout is not None
                promised.add(shop.stdout.readline().decode().strip())
                time.sleep(random.random() * 0.05)  # where it is killed is up to chance, and to the seed
                shop.kill()
                promised.update(line.decode().strip() for line in shop.stdout.readlines())
            receiver.wait_for_the_dead()
            if status == 503:
                del receiver.arrivals[seen:]  # answered so, it has not arrived
        receiver.script(answer(200))
        with Outbox(directory, platform_id="SHOP", api_key="key", base_url=receiver.url, batch=False) as successor:
            while not successor.flush(60) or any(sum(tray.waiting.values()) for tray in list_trays(directory)):
                pass
            stats = successor.stats()
        assert stats.tracked == stats.delivered + stats.waiting + stats.refused + stats.shed
        arrivals = [arrival.event["id"] for arrival in receiver.arrivals]
    return Report(
        promised=len(promised), arrived=len(set(arrivals)), repeated=len(arrivals) - len(set(arrivals)),
        lost=promised - set(arrivals), damaged=stats.shed,
    )  # fmt: skip
