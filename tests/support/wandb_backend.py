"""A W&B server on this machine, for tests: in memory, loopback only, and able to misbehave on command.

Run as a program it prints its address and serves until its standard input closes. It answers what the real client asks when a run is
begun, logged to, given artifacts, finished, synced or looked up; a question that it does not know gets an error and is listed.

    GET  /__state      everything it holds, as JSON
    POST /__behave     ``{"mode": "normal" | "refuse" | "hang" | "nonsense" | "forget"}``: how it answers from now on

``refuse`` answers 403, ``hang`` keeps every connection open and says nothing, ``nonsense`` answers 200 with something that is no JSON,
``forget`` takes requests and cuts the connection.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "team"
_NOW = "2026-01-01T00:00:00Z"


def _page() -> dict[str, Any]:
    return {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}


class Backend:
    """What the server knows, and its answers."""

    def __init__(self) -> None:
        self.address = ""
        self.mode = "normal"
        self.lock = threading.RLock()
        self.released = threading.Event()
        self.numbers = itertools.count(1)
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.sequences: dict[str, list[str]] = {}
        self.manifests: dict[str, str] = {}
        self.clients: dict[str, str] = {}
        self.used: list[tuple[str, str]] = []
        self.streams: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.unknown: list[str] = []

    def new_id(self, kind: str) -> str:
        return base64.b64encode(f"{kind}:{next(self.numbers)}".encode()).decode()

    def state(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "artifacts": [{**item, "aliases": sorted(item["aliases"])} for item in self.artifacts.values()],
            "used": self.used,
            "streams": self.streams,
            "blobs": {name: len(content) for name, content in self.blobs.items()},
            "asked": self.asked,
            "unknown": self.unknown,
        }

    # --- answers ---------------------------------------------------------------------------------------------------------

    def answer(self, operation: str, query: str, values: dict[str, Any]) -> dict[str, Any] | None:
        self.asked.append(operation)
        known: Callable[[dict[str, Any]], dict[str, Any] | None] | None = getattr(self, f"on_{operation}", None)
        if known is not None:
            return known(values)
        if "viewer" in query:
            return self.on_Viewer(values)
        self.unknown.append(operation)
        return None

    def on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY, "id": "1"}}]}
        return {
            "viewer": {
                "__typename": "User",
                "id": "VXNlcjox",
                "entity": ENTITY,
                "username": ENTITY,
                "name": ENTITY,
                "email": "a@example.invalid",
                "admin": False,
                "flags": "{}",
                "apiKeys": {"edges": []},
                "teams": teams,
            }
        }

    def on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_OrgFeatureFlags(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"organization": {"featureFlags": []}}

    def on_OrganizationCoreWeaveOrganizationID(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def on_ServerInfo(self, _: dict[str, Any]) -> dict[str, Any]:
        latest = {"outOfDate": False, "latestVersionString": "0.80.0", "versionOnThisInstanceString": "0.80.0"}
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "0.99.0"}, "latestLocalVersionInfo": latest}}

    def on_GetDefaultEntity(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.on_Viewer(values)

    def on_UpsertBucket(self, values: dict[str, Any]) -> dict[str, Any]:
        name = values.get("name") or values["id"]
        is_new = name not in self.runs
        run = self.runs.setdefault(
            name,
            {"id": self.new_id("Run"), "name": name, "project": values.get("project") or "uncategorized", "config": "{}", "facts": {}},
        )
        run["config"] = values.get("config") or run["config"]
        run["facts"] |= {key: value for key, value in values.items() if value not in (None, "", []) and key != "config"}
        bucket = {
            "id": run["id"],
            "name": name,
            "displayName": run["facts"].get("displayName") or name,
            "description": None,
            "config": run["config"],
            "sweepName": None,
            "project": self._project(run["project"]),
            "historyLineCount": 0,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def on_RunResumeStatus(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"model": {"id": "x", "name": values["project"], "entity": {"id": "e", "name": ENTITY}, "bucket": None}}

    def on_RunStoppedStatus(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def on_CreateRunFiles(self, values: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.address}/blob/{values['run']}/{name}"} for name in values["files"]]
        return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}

    def on_CreateArtifact(self, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("input") or values
        name = given.get("artifactCollectionName") or given["artifactCollectionNames"][0]
        versions = self.sequences.setdefault(f"{given['projectName']}/{name}", [])
        latest = versions[-1] if versions else None
        known = next((item for item in versions if self.artifacts[item]["digest"] == given["digest"]), None)
        if known is None:  # the same digest again is the same version, as on the real server
            known = self.new_id("Artifact")
            versions.append(known)
            self.artifacts[known] = {
                "id": known,
                "sequence": f"{given['projectName']}/{name}",
                "name": name,
                "project": given["projectName"],
                "type": given["artifactTypeName"],
                "digest": given["digest"],
                "version": len(versions) - 1,
                "aliases": set(),
                "state": "PENDING",
                "metadata": given.get("metadata"),
                "description": given.get("description"),
                "run": given.get("runName"),
            }
        aliases = {item["alias"] for item in given.get("aliases") or []}
        for item in versions:
            self.artifacts[item]["aliases"] -= aliases
        self.artifacts[known]["aliases"] |= aliases
        self.clients[given.get("clientID", "")] = known
        sequence = {"id": f"seq-{name}", "latestArtifact": {"id": latest} if latest else None}
        return {"createArtifact": {"artifact": {"id": known, "state": self.artifacts[known]["state"], "artifactSequence": sequence}}}

    def on_CreateArtifactManifest(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": self._manifest(self.new_id("Manifest"), values["artifactID"])}

    def on_UpdateArtifactManifest(self, values: dict[str, Any]) -> dict[str, Any]:
        manifest = values["artifactManifestID"]
        return {"updateArtifactManifest": self._manifest(manifest, self.manifests[manifest])}

    def on_CreateArtifactFiles(self, values: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "node": {
                    "storagePath": f"wandb_artifacts/{item['md5']}",
                    "uploadUrl": f"{self.address}/blob/artifact/{base64.b64decode(item['md5']).hex()}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": item["artifactID"]},
                }
            }
            for item in (values.get("input") or values)["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def on_CommitArtifact(self, values: dict[str, Any]) -> dict[str, Any]:
        found = self.artifacts[values["artifactID"]]
        found["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": found["id"], "digest": found["digest"]}}}

    def on_UseArtifact(self, values: dict[str, Any]) -> dict[str, Any]:
        given = values.get("input") or values
        self.used.append((given["runName"], given["artifactID"]))
        return {"useArtifact": {"artifact": self._artifact(given["artifactID"])}}

    def on_ArtifactByID(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self._artifact(values["id"])}

    def on_ClientIDMapping(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"clientIDMapping": {"serverID": self.clients.get(values["clientID"])}}

    def on_ArtifactType(self, values: dict[str, Any]) -> dict[str, Any]:
        found = self._named(values["project"], values["name"])
        return {"project": {"artifact": None if found is None else {"artifactType": {"name": self.artifacts[found]["type"]}}}}

    def on_ArtifactMembershipByName(self, values: dict[str, Any]) -> dict[str, Any]:
        found = self._named(values["project"], values["name"])
        if found is None:
            return {"project": {"artifactCollectionMembership": None}}
        artifact = self._artifact(found)
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": "m",
            "versionIndex": artifact["versionIndex"],
            "createdAt": _NOW,
            "aliases": artifact["aliases"],
            "artifactCollection": artifact["artifactSequence"],
            "artifact": artifact,
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def on_FetchArtifactManifest(self, values: dict[str, Any]) -> dict[str, Any]:
        place = {"id": "f", "directUrl": f"{self.address}/blob/manifest/{values.get('id') or values.get('artifact_id')}"}
        return {"artifact": {"__typename": "Artifact", "currentManifest": {"id": "m", "file": place}}}

    on_ArtifactManifest = on_FetchArtifactManifest

    def on_Run(self, values: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(values["name"])
        return {"project": {"run": None if run is None else self._run(run)}}

    def on_Runs(self, values: dict[str, Any]) -> dict[str, Any]:
        edges = [{"node": self._run(run), "cursor": "x"} for run in self.runs.values() if run["project"] == values["project"]]
        runs = {"edges": edges, "pageInfo": {"endCursor": "x", "hasNextPage": False}}
        return {"project": {"internalId": 1, "runCount": len(edges), "readOnly": False, "runs": runs}}

    def on_RunOutputArtifacts(self, values: dict[str, Any]) -> dict[str, Any]:
        return self._artifacts_of([key for key, item in self.artifacts.items() if item["run"] == values["run"]])

    def on_RunInputArtifacts(self, values: dict[str, Any]) -> dict[str, Any]:
        return self._artifacts_of([item for name, item in self.used if name == values["run"]])

    def on_RunHistoryKeys(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"historyKeys": {"lastStep": len(self._history(values["name"])) - 1, "keys": {}}}}}

    def on_RunParquetHistory(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}

    def on_HistoryPage(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"history": self._history(values["run"])[values["minStep"] : values["maxStep"]]}}}

    def on_RunFiles(self, values: dict[str, Any]) -> dict[str, Any]:
        nodes = []
        for place, content in self.blobs.items():
            owner, _, name = place.partition("/")
            if owner == values["name"] and name in (values.get("fileNames") or [name]):
                address = f"{self.address}/blob/{place}"
                facts = {"id": place, "name": name, "url": address, "directUrl": address, "sizeBytes": len(content)}
                nodes.append({"node": {**facts, "mimetype": "", "updatedAt": _NOW, "md5": ""}, "cursor": "x"})
        run = {"fileCount": len(nodes), "files": {"edges": nodes, "pageInfo": _page()}}
        return {"project": {"internalId": 1, "run": run}}

    # --- parts -----------------------------------------------------------------------------------------------------------

    def _project(self, name: str) -> dict[str, Any]:
        key = base64.b64encode(f"Project:v1:{name}:{ENTITY}".encode()).decode()
        return {
            "id": key,
            "internalId": base64.b64encode(b"ProjectInternalId:1").decode(),
            "name": name,
            "entity": {"id": "e", "name": ENTITY},
        }

    def _history(self, run: str) -> list[str]:
        found: list[str] = self.streams.get(run, {}).get("wandb-history.jsonl", [])
        return found

    def _manifest(self, manifest: str, artifact: str) -> dict[str, Any]:
        self.manifests[manifest] = artifact
        file = {"id": "f", "uploadUrl": f"{self.address}/blob/manifest/{artifact}", "uploadHeaders": []}
        return {"artifactManifest": {"id": manifest, "file": file}}

    def _named(self, project: str, name: str) -> str | None:
        collection, _, alias = name.partition(":")
        for key in self.sequences.get(f"{project}/{collection}", []):
            item = self.artifacts[key]
            if (alias or "latest") in {f"v{item['version']}", item["digest"], *item["aliases"]}:
                return key
        return None

    def _artifact(self, key: str) -> dict[str, Any]:
        item = self.artifacts[key]
        collection = {
            "__typename": "ArtifactSequence",
            "id": f"seq-{item['name']}",
            "name": item["name"],
            "project": self._project(item["project"]),
        }
        aliases = [
            {"__typename": "ArtifactAlias", "id": "x", "alias": alias, "artifactCollection": collection}
            for alias in sorted(item["aliases"])
        ]
        return {
            "__typename": "Artifact",
            "id": key,
            "artifactSequence": collection,
            "versionIndex": item["version"],
            "artifactType": {"name": item["type"]},
            "description": item["description"],
            "metadata": item["metadata"],
            "ttlDurationSeconds": -2,
            "ttlIsInherited": False,
            "tags": [],
            "historyStep": None,
            "state": item["state"],
            "size": 1,
            "digest": item["digest"],
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": key[:10],
            "fileCount": 1,
            "createdAt": _NOW,
            "updatedAt": _NOW,
            "aliases": aliases,
            "currentManifest": {"file": {"directUrl": f"{self.address}/blob/manifest/{key}"}},
        }

    def _artifacts_of(self, keys: list[str]) -> dict[str, Any]:
        edges = [{"node": self._artifact(key)} for key in keys]
        return {"project": {"run": {"artifacts": {"totalCount": len(edges), "pageInfo": _page(), "edges": edges}}}}

    def _run(self, run: dict[str, Any]) -> dict[str, Any]:
        facts, stream = run["facts"], self.streams.get(run["name"], {})
        history = stream.get("wandb-history.jsonl", [])
        code = stream.get("exitcode")
        return {
            "__typename": "Run",
            "projectId": "1",
            "id": run["id"],
            "tags": facts.get("tags", []),
            "name": run["name"],
            "displayName": facts.get("displayName") or run["name"],
            "sweepName": None,
            "state": "running" if not stream.get("complete") else "failed" if code else "finished",
            "config": run["config"],
            "group": facts.get("groupName"),
            "jobType": facts.get("jobType"),
            "commit": facts.get("commit"),
            "readOnly": False,
            "createdAt": _NOW,
            "heartbeatAt": _NOW,
            "description": None,
            "notes": None,
            "systemMetrics": "{}",
            "summaryMetrics": (stream.get("wandb-summary.json") or ["{}"])[-1],
            "historyLineCount": len(history),
            "user": {"name": ENTITY, "username": ENTITY},
            "historyKeys": {"lastStep": len(history) - 1, "keys": {}},
            "history": history,
            "project": self._project(run["project"]),
        }

    def streamed(self, run: str, given: dict[str, Any]) -> None:
        known = self.streams.setdefault(run, {"complete": False, "exitcode": None})
        known |= {key: given[key] for key in ("complete", "exitcode") if given.get(key) is not None}
        for name, part in (given.get("files") or {}).items():
            lines: list[str] = known.setdefault(name, [])
            lines[part.get("offset", 0) :] = part["content"]


BACKEND = Backend()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _is_out_of_order(self) -> bool:
        mode = BACKEND.mode
        if mode == "hang":
            BACKEND.released.wait(600)
        if mode in ("hang", "forget"):
            self.close_connection = True
            return True
        if mode == "refuse":
            self._send(403, {"errors": [{"message": "permission denied"}]})
        elif mode == "nonsense":
            self._send(200, b"<html>a captive portal</html>")
        return mode != "normal"

    def do_POST(self) -> None:
        body, path = self._body(), self.path
        if path == "/__behave":
            BACKEND.mode = json.loads(body)["mode"]
            BACKEND.released.set()
            BACKEND.released = threading.Event()
            self._send(200, {})
        elif self._is_out_of_order():
            pass
        elif path == "/graphql":
            asked = json.loads(body)
            named = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
            operation = asked.get("operationName") or (named.group(1) if named else "?")
            with BACKEND.lock:
                answer = BACKEND.answer(operation, asked["query"], asked.get("variables") or {})
            if answer is None:
                self._send(200, {"errors": [{"message": f"this server does not know {operation}"}], "data": None})
            else:
                self._send(200, {"data": answer})
        else:
            if path.endswith("/file_stream"):
                with BACKEND.lock:
                    BACKEND.streamed(path.split("/")[-2], json.loads(body))
            self._send(200, {})

    def do_PUT(self) -> None:
        body = self._body()
        if not self._is_out_of_order():
            with BACKEND.lock:
                BACKEND.blobs[self.path.removeprefix("/blob/")] = body
            self._send(200, b"")

    def do_GET(self) -> None:
        if self.path == "/__state":
            with BACKEND.lock:
                content = json.dumps(BACKEND.state()).encode()
            self._send(200, content)
        elif not self._is_out_of_order():
            found = BACKEND.blobs.get(self.path.removeprefix("/blob/"))
            self._send(200 if found is not None or not self.path.startswith("/blob/") else 404, found or {})


def main() -> None:
    """Serve on a free port until standard input closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    BACKEND.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{BACKEND.address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
