"""What is a key of an index has its limit where it comes in, not in the database."""

import random

import httpx

from tests.http.api import event, put_customer, put_meter, send


async def test_dimensions_are_bounded_as_they_are_stored(client: httpx.AsyncClient) -> None:
    """A control character is six bytes of JSON, so 1,400 of them are beyond an index's 2,704: the
    event waits in quarantine, and its neighbour counts.
    """
    draw = random.Random(1)
    await put_customer(client)
    await put_meter(client, dimensions=["d"])
    odd = "".join(
        chr(draw.randint(1, 7)) if draw.random() < 0.5 else draw.choice("abcdefghijklmnop")
        for _ in range(1400)
    )
    answer = await send(client, [event("a", n=1, d=odd), event("b", n=1, d="x" * 1400)])
    assert (answer["accepted"], answer["quarantined"]) == (1, 1)
    assert answer["results"][0]["error"]["code"] == "invalid_dimension"
