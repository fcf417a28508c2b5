"""Who may come in, and with what rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.auth.claims import Terms
from bridge.auth.jwks_client import ProjectKeys
from bridge.auth.revocations import SignOuts
from bridge.auth.token_verifier import Verifier
from bridge.clock import SystemClock
from bridge.errors import Code, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.auth.claims import Claims
    from bridge.auth.policy import Rules
    from bridge.clock import Clock
    from bridge.log.base import SignOutStore
    from bridge.rights import Rights
    from bridge.settings.auth import AuthMode, AuthSettings


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody may come in. `claims` are those of the token, None for who has none."""

    rights: Rights
    claims: Claims | None = None


class Access:
    """The door. Open it first; `run` and `close` are those of its keys."""

    def __init__(
        self,
        mode: AuthMode,
        verifier: Verifier,
        rules: Rules,
        *,
        keys: ProjectKeys,
        sign_outs: SignOuts,
    ) -> None:
        self.mode = mode
        self.terms = verifier.terms
        self.sign_outs = sign_outs
        self._verifier = verifier
        self._rules = rules
        self._keys = keys

    @classmethod
    def of(
        cls,
        settings: AuthSettings,
        url: str,
        *,
        clock: Clock | None = None,
        store: SignOutStore | None = None,
    ) -> Access:
        """As the settings say, for users of the project at `url`. Nothing is fetched yet."""
        clock = clock or SystemClock()
        keys = ProjectKeys(f"{url}/auth/v1/.well-known/jwks.json")
        terms = Terms(
            issuer=settings.token_issuer or f"{url}/auth/v1",
            audience=settings.token_audience,
            leeway=settings.token_leeway,
            longest=settings.token_seconds,
        )
        secret = settings.supabase_jwt_secret
        verifier = Verifier(
            keys,
            terms,
            clock,
            secret=None if secret is None else secret.get_secret_value(),
        )
        # A token is refused a leeway after it ended, and one that is from a leeway ahead is taken.
        sign_outs = SignOuts(store, clock, keep=terms.longest + 2 * terms.leeway)
        return cls(settings.auth, verifier, settings.rules, keys=keys, sign_outs=sign_outs)

    async def open(self) -> None:
        """Take up the sign-outs of an earlier process. Raises `errors.LogUnusable`."""
        await self.sign_outs.load()

    async def admit(self, token: str | None) -> Admission:
        """Raises `Refused`: `token_required`, `token_invalid`, `token_expired`, `signed_out`, or
        `not_ready` where the project's keys are needed and can't be had.

        What it says holds in the step of the loop in which it returns.
        """
        if self.mode == "off":
            token = None
        elif token is None and self.mode == "required":
            raise Refused(
                Code.TOKEN_REQUIRED, "expected the token of a signed-in user as auth.token"
            )
        claims = None if token is None else await self._verifier.verify(token)
        if claims is not None:
            # Last of all: while keys were waited for, somebody may have been signed out.
            self.sign_outs.check(claims)
        return Admission(self._rules.rights(claims), claims)

    def when_keys_go(self, call: Callable[[Collection[str]], None]) -> None:
        """`call` is told the names of keys that the project shows no more: from here on no token
        that they signed is believed. One may have been replaced under its name.
        """
        self._keys.on_gone = call

    async def describe(self) -> str:
        """How tokens are checked, with the keys that the project shows now. Raises
        `keys.KeysUnavailable`.
        """
        if self.mode == "off":
            return "they are not looked at (BRIDGE_AUTH=off)"
        names = await self._keys.names()
        if self._verifier.has_secret:
            names.append("the legacy secret")
        return f"{self.mode}; checked by {', '.join(names) or 'nothing: the project has no keys'}"

    async def run(self) -> None:
        """Keep the keys fresh, for ever."""
        await self._keys.run()

    async def close(self) -> None:
        await self._keys.close()
