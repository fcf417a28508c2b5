"""The wire contract as an AsyncAPI 3.0 document, from the bridge's side: it sends events and
receives requests, with acks as replies.

Facts of Socket.IO are in extensions: `x-socketio` on the server (versions and transports), on the
handshake and on every message (its event and arguments).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.contract.events import CONTRACT_VERSION, POSITION_HEADER
from bridge.events import PROPERTY_EVENTS
from bridge.schema.catalog import EMITTED, REQUESTS
from bridge.schema.examples import POSITION, examples
from bridge.schema.json_schema import definitions

if TYPE_CHECKING:
    from bridge.projection import Projection
    from bridge.schema.examples import Examples
    from bridge.schema.json_schema import Schema

OWN: Final = ("properties-batch", "bridge-status", "auth-status")
"""Events sent to single clients."""

PERSONAL: Final = ("property-notification",)
"""Events sent to one user."""

DESCRIPTION: Final = """\
Every change of the table `{table}`, live over Socket.IO, per region.

A client connects, receives the events of its rooms, and can change its subscription. Each event is
sent with its position in the log. After a short disconnect a client recovers by itself: it receives
every missed event once and in order (`socket.recovered` is true), or requests a snapshot if the
session cannot be recovered. A client that is recovered before the last page of its snapshot
requests it again. Events of one property are sent in commit order, each once."""


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """The facts of one bridge that its document names."""

    projection: Projection
    path: str = "/socket.io"
    port: int = 8000

    @property
    def table(self) -> str:
        """The table with its schema."""
        return f"{self.projection.schema}.{self.projection.table}"


def document(options: DocumentOptions) -> dict[str, Any]:
    """Return the document of a bridge with these options."""
    projection = options.projection
    schemas = definitions(projection, refs="#/components/schemas/{model}")
    shown = examples(projection)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Changes of {options.table}",
            "version": CONTRACT_VERSION,
            "description": DESCRIPTION.format(table=options.table),
        },
        "defaultContentType": "application/json",
        "servers": _servers(options),
        "channels": _channels(options),
        "operations": _operations(),
        "components": {
            "messages": _messages(schemas, shown),
            "schemas": {name: _valid(schema) for name, schema in schemas.items()},
        },
    }


def _servers(options: DocumentOptions) -> dict[str, Any]:
    where = {
        "host": "{host}",
        "variables": {
            "host": {
                "description": "Host and port of the bridge.",
                "default": f"localhost:{options.port}",
            }
        },
    }
    return {
        "socketio": {
            **where,
            "protocol": "ws",
            "pathname": options.path,
            "description": "Socket.IO, over a websocket or long polling. If the bridge is "
            "mounted in another application, the mount path comes first.",
            "x-socketio": {
                "protocol": 5,
                "engineio": 4,
                "transports": ["websocket", "polling"],
                "namespace": "/",
            },
        },
        "http": {**where, "protocol": "http", "description": "Snapshots over HTTP."},
    }


# -- channels -----------------------------------------------------------------------------------


def _channels(options: DocumentOptions) -> dict[str, Any]:
    over_socketio = {"servers": [{"$ref": "#/servers/socketio"}]}
    return {
        "client": {
            **over_socketio,
            "address": "/",
            "title": "One client",
            "description": "The connection itself, in Socket.IO's main namespace: the handshake, "
            "requests with their acks, and events sent to one client.",
            "messages": _listed(
                *OWN,
                "connect",
                "connect-error",
                "refused",
                *(name for each in REQUESTS for name in (each.name, _accepted(each.name))),
            ),
            "bindings": {"ws": {"method": "GET", "query": QUERY, "bindingVersion": "0.1.0"}},
        },
        "everything": {
            **over_socketio,
            "address": None,
            "title": "Everything",
            "description": "Every property that the client's rights allow. A client that names "
            "neither regions nor properties, in the handshake or in `subscribe`, receives it.",
            "messages": _listed(*PROPERTY_EVENTS),
        },
        "region": {
            **over_socketio,
            "address": "region:{region}",
            "title": "One region",
            "description": "The properties of a region, by "
            + ", then ".join(f"`{column}`" for column in options.projection.region)
            + ". Clients subscribe with `regions`, in the handshake or in `subscribe`. An update "
            "that moves a row is sent to the old and the new region, once to a client in both.",
            "parameters": {
                "region": {
                    "description": "The name of the region, as in `subscribe`.",
                    "examples": ["TX"]
                    if len(options.projection.region) == 1
                    else ["TX", "TX/Austin"],
                }
            },
            "messages": _listed(*PROPERTY_EVENTS),
        },
        "property": {
            **over_socketio,
            "address": "property:{property_id}",
            "title": "One property",
            "description": "Events of one property, in any region. Clients subscribe with "
            "`properties`, in the handshake or in `subscribe`.",
            "parameters": {"property_id": {"description": "The id of the property."}},
            "messages": _listed(*PROPERTY_EVENTS),
        },
        "user": {
            **over_socketio,
            "address": None,
            "title": "One user",
            "description": "Notifications of the user of the client's token, independent of the "
            "subscription.",
            "messages": _listed(*PERSONAL),
        },
        "properties": {
            "servers": [{"$ref": "#/servers/http"}],
            "address": "/properties",
            "title": "Rows over HTTP",
            "description": "The current rows, as one array.",
            "messages": _listed("properties", "rows", "refused"),
        },
        "regions": {
            "servers": [{"$ref": "#/servers/http"}],
            "address": "/regions",
            "title": "Regions over HTTP",
            "description": "The regions that have rows, with their numbers of rows, by name.",
            "messages": _listed("regions", "region-counts", "refused"),
        },
    }


QUERY: Final = {
    "type": "object",
    "required": ["EIO", "transport"],
    "properties": {
        "EIO": {"const": "4", "description": "Version of the Engine.IO protocol."},
        "transport": {"enum": ["websocket", "polling"]},
        "sid": {
            "type": "string",
            "description": "Id of a session that upgrades from polling to a websocket.",
        },
    },
}


def _listed(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _accepted(request: str) -> str:
    """Return the name of the message of a request's ack."""
    return request.removesuffix("e") + "ed"


# -- operations ---------------------------------------------------------------------------------


def _operations() -> dict[str, Any]:
    return {
        "connect": {
            **_operation("receive", "client", "connect"),
            "summary": "Accept or reject a client.",
            "description": "Sent by the client library as `auth`. A client that reconnects "
            "within the recovery window resumes its session and receives the missed events.",
            "reply": _reply("client", "connect-error"),
        },
        "emitToClient": {
            **_operation("send", "client", *OWN),
            "summary": "Send one client its batch, the bridge's state or the state of its token.",
        },
        "emitToAll": {
            **_operation("send", "everything", *PROPERTY_EVENTS),
            "summary": "Send a change to clients that are subscribed to everything.",
        },
        "emitToRegion": {
            **_operation("send", "region", *PROPERTY_EVENTS),
            "summary": "Send a change to clients that are subscribed to its region.",
        },
        "emitToProperty": {
            **_operation("send", "property", *PROPERTY_EVENTS),
            "summary": "Send a change to clients that are subscribed to the property.",
        },
        "notify": {
            **_operation("send", "user", *PERSONAL),
            "summary": "Notify a user of a change.",
        },
        **{
            each.name: {
                **_operation("receive", "client", each.name),
                "summary": each.description,
                "reply": _reply("client", _accepted(each.name), "refused"),
            }
            for each in REQUESTS
        },
        "readProperties": {
            **_operation("receive", "properties", "properties"),
            "summary": "Return the rows of regions, or all rows.",
            "description": "With the token in `Authorization: Bearer …` if the bridge requires "
            "one. A rejection has the body of a rejected request and a status of 400 or more.",
            "bindings": {
                "http": {
                    "method": "GET",
                    "query": {
                        "type": "object",
                        "properties": {
                            "region": {
                                "type": "array",
                                "items": {"$ref": "#/components/schemas/Region"},
                                "description": "One per region, repeatable; without it all rows.",
                            }
                        },
                    },
                    "bindingVersion": "0.3.0",
                }
            },
            "reply": _reply("properties", "rows", "refused"),
        },
        "readRegions": {
            **_operation("receive", "regions", "regions"),
            "summary": "Return the regions with their numbers of rows.",
            "description": "Regions that the token permits. The token and rejections are as in "
            "`readProperties`.",
            "bindings": {"http": {"method": "GET", "bindingVersion": "0.3.0"}},
            "reply": _reply("regions", "region-counts", "refused"),
        },
    }


def _operation(action: str, channel: str, *messages: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _reply(channel: str, *messages: str) -> dict[str, Any]:
    whole = _operation("", channel, *messages)
    return {"channel": whole["channel"], "messages": whole["messages"]}


AT_A_POSITION: Final = {
    "http": {
        "statusCode": 200,
        "headers": {
            "type": "object",
            "properties": {
                POSITION_HEADER: {
                    "type": "string",
                    "description": "The log position at which the answer is valid.",
                },
                "ETag": {"type": "string", "description": "For `If-None-Match`."},
            },
        },
        "bindingVersion": "0.3.0",
    }
}

REGION_COUNT: Final = {
    "type": "object",
    "required": ["region", "count"],
    "properties": {
        "region": {"type": "string"},
        "count": {
            "type": "integer",
            "minimum": 1,
            "description": "Rows in the region, those in the regions inside it included.",
        },
    },
}

# -- messages -----------------------------------------------------------------------------------


def _messages(schemas: dict[str, Schema], shown: Examples) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for emitted in EMITTED:
        out[emitted.name] = _message(
            schemas,
            emitted.envelope.__name__,
            {"event": emitted.name, "arguments": ["envelope", "position"], "position": POSITION},
        )
    out["connect"] = _message(schemas, "HandshakeAuth", {"packet": "CONNECT"})
    out["connect-error"] = _message(schemas, "ConnectRefusal", {"packet": "CONNECT_ERROR"})
    out["refused"] = _message(schemas, "Refusal", {"packet": "ACK"})
    for request in REQUESTS:
        out[request.name] = _message(
            schemas, request.argument.__name__, {"event": request.name, "arguments": ["request"]}
        )
        out[_accepted(request.name)] = _message(
            schemas, request.accepted.__name__, {"packet": "ACK"}
        )
    for name in ("properties", "regions"):
        out[name] = {
            "summary": "A request without a body.",
            "payload": {"type": "object", "maxProperties": 0},
        }
    out["rows"] = {
        "summary": "The current rows.",
        "payload": {"type": "array", "items": {"$ref": "#/components/schemas/PropertyRow"}},
        "bindings": AT_A_POSITION,
    }
    out["region-counts"] = {
        "summary": "The regions with their numbers of rows.",
        "payload": {"type": "array", "items": REGION_COUNT},
        "bindings": AT_A_POSITION,
    }
    for name, message in out.items():
        message["name"] = name
        message["examples"] = [{"payload": payload} for payload in shown[name]]
    return out


def _message(schemas: dict[str, Schema], schema: str, wire: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": schemas[schema].get("description", ""),
        "payload": {"$ref": f"#/components/schemas/{schema}"},
        "x-socketio": wire,
    }


def _valid(schema: Any) -> Any:
    """Convert a schema to AsyncAPI's dialect, in which a reference has no other members."""
    if isinstance(schema, list):
        return [_valid(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {word: _valid(value) for word, value in schema.items()}
    if isinstance(out.get("$ref"), str) and len(out) > 1:
        return {"allOf": [{"$ref": out.pop("$ref")}], **out}
    return out
