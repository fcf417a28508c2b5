"""Who may come in, and with what rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from bridge.auth.jwks_client import JwksClient
from bridge.auth.revocations import RevocationList
from bridge.auth.token_verifier import TokenVerifier
from bridge.clock import SystemClock
from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.auth.claims import Claims, TokenRequirements
    from bridge.auth.policy import AccessPolicy
    from bridge.clock import Clock
    from bridge.log.base import RevocationStore
    from bridge.rights import Rights

AuthMode: TypeAlias = Literal["optional", "required", "off"]


@dataclass(frozen=True, slots=True)
class AuthOptions:
    """How users' tokens are checked, and what they allow."""

    mode: AuthMode
    jwks_url: str
    """URL of the project's public keys (JWKS)."""
    requirements: TokenRequirements
    policy: AccessPolicy
    secret: str | None = None
    """The project's legacy JWT secret; None: tokens signed with HS256 are rejected."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody may come in. `claims` are those of the token, None for who has none."""

    rights: Rights
    claims: Claims | None = None


class Authenticator:
    """The door. Open it first; `run` and `close` are those of its keys."""

    def __init__(
        self,
        mode: AuthMode,
        verifier: TokenVerifier,
        rules: AccessPolicy,
        *,
        keys: JwksClient,
        sign_outs: RevocationList,
    ) -> None:
        self.mode = mode
        self.terms = verifier.terms
        self.sign_outs = sign_outs
        self._verifier = verifier
        self._rules = rules
        self._keys = keys

    @classmethod
    def create(
        cls,
        options: AuthOptions,
        *,
        clock: Clock | None = None,
        store: RevocationStore | None = None,
    ) -> Authenticator:
        """Build an authenticator with its verifier, keys and revocations. Nothing is fetched yet.
        Without a `store`, revocations are lost at the end of the process.
        """
        clock = clock or SystemClock()
        keys = JwksClient(options.jwks_url)
        required = options.requirements
        verifier = TokenVerifier(keys, required, clock, secret=options.secret)
        # A token is accepted for a leeway after its expiry, and one issued up to a leeway ahead of
        # this clock is accepted as well, so a revocation is kept for two leeways longer.
        sign_outs = RevocationList(store, clock, keep=required.longest + 2 * required.leeway)
        return cls(options.mode, verifier, options.policy, keys=keys, sign_outs=sign_outs)

    async def open(self) -> None:
        """Take up the sign-outs of an earlier process. Raises `errors.LogUnusableError`."""
        await self.sign_outs.load()

    async def authenticate(self, token: str | None) -> Identity:
        """Raises `RequestRejected`: `token_required`, `token_invalid`, `token_expired`,
        `signed_out`, or `not_ready` where the project's keys are needed and can't be had.

        What it says holds in the step of the loop in which it returns.
        """
        if self.mode == "off":
            token = None
        elif token is None and self.mode == "required":
            raise RequestRejected(
                Code.TOKEN_REQUIRED, "expected the token of a signed-in user as auth.token"
            )
        claims = None if token is None else await self._verifier.verify(token)
        if claims is not None:
            # Last of all: while keys were waited for, somebody may have been signed out.
            self.sign_outs.check(claims)
        return Identity(self._rules.rights_for(claims), claims)

    def on_keys_revoked(self, call: Callable[[Collection[str]], None]) -> None:
        """`call` is told the names of keys that the project shows no more: from here on no token
        that they signed is believed. One may have been replaced under its name.
        """
        self._keys.on_removed = call

    async def describe(self) -> str:
        """How tokens are checked, with the keys that the project shows now. Raises
        `jwks_client.JwksUnavailableError`.
        """
        if self.mode == "off":
            return "they are not looked at (BRIDGE_AUTH=off)"
        names = await self._keys.key_names()
        if self._verifier.has_secret:
            names.append("the legacy secret")
        return f"{self.mode}; checked by {', '.join(names) or 'nothing: the project has no keys'}"

    async def run(self) -> None:
        """Keep the keys fresh, for ever."""
        await self._keys.run()

    async def close(self) -> None:
        await self._keys.close()
