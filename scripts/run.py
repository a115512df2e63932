"""`make run`: a server that stays up on the usual ports, data in ./footfall-data, with a platform pair and a key for each id."""

from __future__ import annotations

from pathlib import Path

from local_server import LocalServer


def main() -> None:
    with LocalServer(Path("footfall-data"), quiet=False, port=8080, ops_port=8081) as server:
        for platform, key in server.keys.items():
            print(f"{platform:<10} {key}")
        print(f"\ntry:  curl -X POST {server.url}/rmp/event/v1/platforms/SHOP_TEST/userevents \\")
        print(f"           -H 'X-API-Key: {server.keys['SHOP_TEST']}' -H 'Content-Type: application/json' \\")
        print(
            '           -d \'{"event_type":"HOME","channel_type":"SITE","timestamp":"\'$(date +%s000)\'","user_id":"u1"}\'',
            flush=True,
        )
        try:
            server.process.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
