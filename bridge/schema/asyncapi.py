"""The wire contract as an AsyncAPI 3.0 document, from the bridge's side: it sends events and
receives requests, whose acks are replies.

What AsyncAPI has no word for is said in extensions: `x-socketio` on the server (versions and
transports), on the handshake and on every message (its event, and the arguments it comes with).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.contract.events import CONTRACT_VERSION, POSITION_HEADER
from bridge.schema.catalog import EMITTED, REQUESTS
from bridge.schema.examples import POSITION, examples
from bridge.schema.json_schema import definitions

if TYPE_CHECKING:
    from bridge.projection import Projection
    from bridge.schema.examples import Examples
    from bridge.schema.json_schema import Schema

SINGLE: Final = ("property-created", "property-updated", "property-deleted")
"""Events of one property, which go to its rooms."""

OWN: Final = ("properties-batch", "bridge-status", "auth-status")
"""Events that are made for one client."""

PERSONAL: Final = ("property-notification",)
"""Events of one user."""

DESCRIPTION: Final = """\
Every change of the table `{table}`, live over Socket.IO, per region.

A client connects, hears the events of its rooms, and may change what it hears. Each event comes
with its position in the log; a client that loses its connection for a short while comes back by
itself with every event that it missed, in order, once (`socket.recovered` is true), and takes a
snapshot where that can't be. Per property, events come in commit order, each once."""


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
                "description": "Where the bridge is reached, with the port.",
                "default": f"localhost:{options.port}",
            }
        },
    }
    return {
        "socketio": {
            **where,
            "protocol": "ws",
            "pathname": options.path,
            "description": "Socket.IO, over a websocket or long polling. Inside another "
            "application its own path comes first.",
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
            "requests with their acks, and events for one client alone.",
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
            "description": "Every property that the client may hear. Who names neither regions nor "
            "properties when it connects is here, and who names neither in `subscribe` comes back.",
            "messages": _listed(*SINGLE),
        },
        "region": {
            **over_socketio,
            "address": "region:{region}",
            "title": "One region",
            "description": "The properties of a region, by "
            + ", then ".join(f"`{column}`" for column in options.projection.region)
            + ". Clients enter with `regions`, at connect or in `subscribe`. What moves is told in "
            "the region that it leaves and in the one that it enters, once to a client that is in "
            "both.",
            "parameters": {
                "region": {
                    "description": "The region's name, as `subscribe` takes it.",
                    "examples": ["TX"]
                    if len(options.projection.region) == 1
                    else ["TX", "TX/Austin"],
                }
            },
            "messages": _listed(*SINGLE),
        },
        "property": {
            **over_socketio,
            "address": "property:{property_id}",
            "title": "One property",
            "description": "What happens to one property, wherever it is. Clients enter with "
            "`properties`, at connect or in `subscribe`.",
            "parameters": {"property_id": {"description": "The property's id."}},
            "messages": _listed(*SINGLE),
        },
        "user": {
            **over_socketio,
            "address": None,
            "title": "One user",
            "description": "What concerns the user of the client's token, whatever it subscribed "
            "to.",
            "messages": _listed(*PERSONAL),
        },
        "properties": {
            "servers": [{"$ref": "#/servers/http"}],
            "address": "/properties",
            "title": "Rows over HTTP",
            "description": "The current rows, as one array.",
            "messages": _listed("properties", "rows", "refused"),
        },
    }


QUERY: Final = {
    "type": "object",
    "required": ["EIO", "transport"],
    "properties": {
        "EIO": {"const": "4", "description": "The version of Engine.IO's protocol."},
        "transport": {"enum": ["websocket", "polling"]},
        "sid": {
            "type": "string",
            "description": "Of a connection that moves from polling to a websocket.",
        },
    },
}


def _listed(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _accepted(request: str) -> str:
    """The message of a request's ack."""
    return request.removesuffix("e") + "ed"


# -- operations ---------------------------------------------------------------------------------


def _operations() -> dict[str, Any]:
    return {
        "connect": {
            **_operation("receive", "client", "connect"),
            "summary": "Let a client in, or say why not.",
            "description": "The client library says it as `auth`. Who comes back within the "
            "recovery window is who it was, with all that it missed.",
            "reply": _reply("client", "connect-error"),
        },
        "tellClient": {
            **_operation("send", "client", *OWN),
            "summary": "Tell one client of its batch, of the upstream, of its token.",
        },
        "tellEverything": {
            **_operation("send", "everything", *SINGLE),
            "summary": "Tell those who hear everything of a change.",
        },
        "tellRegion": {
            **_operation("send", "region", *SINGLE),
            "summary": "Tell those who hear a region of a change in it.",
        },
        "tellProperty": {
            **_operation("send", "property", *SINGLE),
            "summary": "Tell those who hear a property of a change of it.",
        },
        "notify": {
            **_operation("send", "user", *PERSONAL),
            "summary": "Tell a user of a change that concerns them.",
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
            "summary": "Give the rows of regions, or of all.",
            "description": "With the token in `Authorization: Bearer …` where the bridge asks for "
            "one. What is refused is answered as a request is, with a status of 400 or more.",
            "bindings": {
                "http": {
                    "method": "GET",
                    "query": {
                        "type": "object",
                        "properties": {
                            "region": {
                                "type": "array",
                                "items": {"$ref": "#/components/schemas/Region"},
                                "description": "Repeated for each region; all without it.",
                            }
                        },
                    },
                    "bindingVersion": "0.3.0",
                }
            },
            "reply": _reply("properties", "rows", "refused"),
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
    out["properties"] = {
        "summary": "A request without a body.",
        "payload": {"type": "object", "maxProperties": 0},
    }
    out["rows"] = {
        "summary": "The current rows.",
        "payload": {"type": "array", "items": {"$ref": "#/components/schemas/PropertyRow"}},
        "bindings": {
            "http": {
                "statusCode": 200,
                "headers": {
                    "type": "object",
                    "properties": {
                        POSITION_HEADER: {
                            "type": "string",
                            "description": "The position in the log as of which the rows are.",
                        },
                        "ETag": {"type": "string", "description": "For `If-None-Match`."},
                    },
                },
                "bindingVersion": "0.3.0",
            }
        },
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
    """A schema in AsyncAPI's own dialect, in which a reference stands alone."""
    if isinstance(schema, list):
        return [_valid(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {word: _valid(value) for word, value in schema.items()}
    if isinstance(out.get("$ref"), str) and len(out) > 1:
        return {"allOf": [{"$ref": out.pop("$ref")}], **out}
    return out
