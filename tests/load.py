"""Senders under which a server is killed, restarted and reconfigured: they remember what was answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from typing import Self

from tests.serving import EVENTS_PATH, Footfall, home

SENDERS = 8


class Load:
    """Senders that note what they sent and what was answered 200, until told to stop."""

    def __init__(self, server: Footfall, generation: int = 0) -> None:
        self._server = server
        self._generation = generation
        self.key = server.keys["SHOP"]
        self._stop = threading.Event()
        self.sent: set[str] = set()
        self.answered: set[str] = set()
        self.refused: Counter[int] = Counter()
        """status → answers other than 200"""
        self.broken = 0
        """requests that got no answer"""
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Self:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=20)
            assert not thread.is_alive()
        return self

    def _send(self, sender: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=10)
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        count = 0
        while not self._stop.is_set():
            event_id = f"{self._generation}-{sender}-{count}"
            count += 1
            with self._lock:
                self.sent.add(event_id)
            try:
                connection.request(
                    "POST", EVENTS_PATH.format(platform="SHOP"), body=json.dumps(home(id=event_id)), headers=headers
                )
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException):
                self.broken += 1
                connection.close()
                time.sleep(0.01)
                continue
            with self._lock:
                if reply.status == 200:
                    self.answered.add(event_id)
                else:
                    self.refused[reply.status] += 1
        connection.close()
