"""The calls of a copy between two schema registries as a plain script makes them, one after the other over one
connection to each: fill PORT COUNT; copy SOURCE DESTINATION; until PORT SUBJECT; digest PORT."""

import hashlib
import http.client
import json
import sys
import time
from urllib.parse import quote


class Registry:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)

    def ask(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        self.connection.request(method, path, text, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")

    def must(self, method, path, body=None):
        status, answer = self.ask(method, path, body)
        assert status == 200, (method, path, status, answer)
        return answer


def schema(n):
    fields = [{"name": f"f{n % 17}", "type": "long"}, {"name": "text", "type": "string"}]
    return json.dumps({"type": "record", "name": f"R{n}", "namespace": "bench", "fields": fields})


def fill(port, count):
    registry = Registry(port)
    for n in range(int(count)):
        registry.must("POST", f"/subjects/s{n}-value/versions", {"schema": schema(n)})


def held(registry):
    """Every version of every subject, deleted ones too, and each subject's config."""
    for subject in registry.must("GET", "/subjects?deleted=true") or []:
        path = f"/subjects/{quote(subject, safe='')}/versions"
        live = registry.must("GET", path)
        versions = registry.must("GET", f"{path}?deleted=true")
        config = registry.ask("GET", f"/config/{quote(subject, safe='')}")
        yield subject, config, live, [registry.must("GET", f"{path}/{v}?deleted=true") for v in versions]


def copy(source, destination):
    to = Registry(destination)
    found = list(held(Registry(source)))
    for subject, _, _, versions in found:
        for it in versions:
            body = {key: it[key] for key in ("schema", "id", "version")}
            answer = to.must("POST", f"/subjects/{quote(subject, safe='')}/versions", body)
            assert answer["id"] == it["id"], answer
    # who says yes may not have done it
    key = lambda it: (it["subject"], it["version"], it["id"], it["schema"])
    both = [[key(it) for _, _, _, all in one for it in all] for one in (found, held(to))]
    assert sorted(both[0]) == sorted(both[1])


def until(port, subject):
    registry = Registry(port)
    while registry.ask("GET", f"/subjects/{subject}/versions")[0] != 200:
        time.sleep(0.005)


def digest(port):
    lines = [f"{s} {it['version']} {it['id']} {it['schema']}" for s, _, _, all in held(Registry(port)) for it in all]
    print(len(lines), hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16])


globals()[sys.argv[1]](*sys.argv[2:])
