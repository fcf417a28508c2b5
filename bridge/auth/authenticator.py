"""Authenticates clients by their tokens and returns their rights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.auth.jwks_client import JwksClient
from bridge.auth.revocations import RevocationList
from bridge.auth.token_verifier import TokenVerifier
from bridge.clock import SystemClock
from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.auth.claims import Claims, TokenRequirements
    from bridge.auth.policy import AccessPolicy, AuthMode
    from bridge.clock import Clock
    from bridge.log.base import RevocationStore
    from bridge.rights import Rights


@dataclass(frozen=True, slots=True)
class AuthOptions:
    """How users' tokens are checked, and what they allow."""

    mode: AuthMode
    jwks_url: str
    """URL of the project's public keys (JWKS)."""
    requirements: TokenRequirements
    policy: AccessPolicy
    secret: str | None = field(default=None, repr=False)
    """The project's legacy JWT secret; None: tokens signed with HS256 are rejected."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An accepted client. `claims` are those of its token; None without a token."""

    rights: Rights
    claims: Claims | None = None


class Authenticator:
    """Authenticates tokens and returns the client's rights.

    Call `open` before use. `run` refreshes the signing keys until it is cancelled; `close` releases
    their HTTP client.
    """

    def __init__(
        self,
        mode: AuthMode,
        verifier: TokenVerifier,
        rules: AccessPolicy,
        *,
        keys: JwksClient,
        revocations: RevocationList,
    ) -> None:
        self.mode = mode
        self.requirements = verifier.requirements
        self.revocations = revocations
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
        revocations = RevocationList(store, clock, keep=required.max_lifetime + 2 * required.leeway)
        return cls(options.mode, verifier, options.policy, keys=keys, revocations=revocations)

    async def open(self) -> None:
        """Load the revocations of earlier processes. Raises `errors.LogUnusableError`."""
        await self.revocations.load()

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity that a token proves, or that of a client without a token.

        Raises `RequestRejected`: `token_required`, `token_invalid`, `token_expired`, `signed_out`,
        or `not_ready` if the project's keys are required and cannot be fetched. The result is valid
        in the iteration of the event loop in which it is returned.
        """
        if self.mode == "off":
            token = None
        elif token is None and self.mode == "required":
            raise RequestRejected(
                Code.TOKEN_REQUIRED, "expected the token of a signed-in user as auth.token"
            )
        claims = None if token is None else await self._verifier.verify(token)
        if claims is not None:
            # Checked last: the session may be revoked while the keys are fetched.
            self.revocations.check(claims)
        return Identity(self._rules.rights_for(claims), claims)

    def on_keys_revoked(self, callback: Callable[[Collection[str]], None]) -> None:
        """Call `callback` with the `kid`s of keys that the project no longer publishes. Tokens
        signed with them are rejected from then on. A key may be replaced under the same `kid`.
        """
        self._keys.on_removed = callback

    async def describe(self) -> str:
        """Return a text on how tokens are verified, with the keys that the project publishes now.
        Raises `jwks_client.JwksUnavailableError`.
        """
        if self.mode == "off":
            return "ignored (BRIDGE_AUTH=off)"
        names = await self._keys.key_names()
        if self._verifier.has_secret:
            names.append("the legacy secret")
        keys = ", ".join(names) or "no key: the project has none"
        return f"{self.mode}; verified with {keys}"

    async def run(self) -> None:
        """Refresh the signing keys until cancelled."""
        await self._keys.run()

    async def close(self) -> None:
        await self._keys.close()
