from tests.http.api import *
async def test_x(client):
    await put_customer(client); await put_meter(client)
    plan={"currency":"USD","period":"month","prices":[{"key":"seats","type":"seat","model":"per_unit","unit":"1"},{"key":"u","type":"usage","meter":"tokens","model":"per_unit","unit":"1"}]}
    print((await client.put("/v1/plans/p", json=plan)).status_code)
    r=await client.post("/v1/subscriptions", json={"customer":"acme","plan":"p","quantities":{"seats":"5"},"starts_at":"2026-03-01T00:00:00Z"}); print(r.text[:600])
    sid=r.json()["id"]
    r=await client.post("/v1/events", json=[event("a","2026-03-02T00:00:00Z",n=1), {**event("b","2026-03-02T00:00:00Z",n=1),"subscription":sid}]); print(r.status_code, r.text)
    r=await client.post(f"/v1/subscriptions/{sid}/change", json={"quantities":{"seats":"7"},"at":"2026-03-05T00:00:00Z","proration":"by_day"}); print(r.status_code, r.text[:300])
    r=await client.post("/v1/events", json=[event("c","2026-03-02T00:00:00Z",n=1), event("d","2026-03-06T00:00:00Z",n=1)]); print(r.status_code, r.text)
    print((await client.get("/v1/customers/acme/upcoming_invoice")).text[:800])
    assert 0
