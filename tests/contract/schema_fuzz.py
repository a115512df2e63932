"""Cases that an OpenAPI document allows, and cases it forbids, sent to a real server: what schemathesis makes of the document."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import Any

import jsonschema
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode

from tests.serving import Footfall, now_ms


def send_cases(
    server: Footfall, document: dict[str, Any], *, path: str, served: dict[str, Any], cases: int, number: int = 1
) -> Counter[int]:
    """Sends `cases` requests for one operation of `document`, half of them as it allows, half as it forbids; returns the
    statuses. Fails at a 5xx, and at an answer that `served`, our own document, does not describe for that path."""
    statuses: Counter[int] = Counter()
    responses = served["paths"][path]["post"]["responses"]
    validators = {
        status: jsonschema.Draft202012Validator(
            {**response["content"]["application/json"]["schema"], "components": served["components"]}
        )
        for status, response in responses.items()
    }
    session = requests.Session()

    def send(case: Any) -> None:
        if isinstance(case.body, dict) and sum(statuses.values()) % 2:
            case.body |= {"timestamp": str(now_ms()), "user_id": "fuzz"}  # past two rules that no document can tell
        # the sender is known in three cases of four, so that bodies are looked at
        headers = {"X-API-Key": server.keys["SHOP"], "x-platform-id": "SHOP"} if sum(statuses.values()) % 4 else None
        try:
            reply = case.call(base_url=server.url, session=session, headers=headers, timeout=20)
        except (requests.exceptions.InvalidHeader, UnicodeError, ValueError):
            return  # no client would send such a header
        statuses[reply.status_code] += 1
        assert reply.status_code < 500, (reply.status_code, case.body)
        if not reply.content:
            return  # the HTTP parser's own refusal
        answer = json.loads(reply.content)
        assert str(reply.status_code) in validators, (reply.status_code, answer)
        validators[str(reply.status_code)].validate(answer)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the generator, about documents it cannot follow everywhere
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            operation = schemathesis.openapi.from_dict(document)[path]["POST"]
            strategy = operation.as_strategy(
                generation_mode=mode, path_parameters={"platform": "SHOP"} if "{platform}" in path else None
            )
            limits = settings(
                max_examples=cases // 2,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            seed(number)(limits(given(case=strategy)(send)))()
    session.close()
    return statuses
