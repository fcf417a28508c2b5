"""Who may come in, and with what rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.auth.claims import Terms
from bridge.auth.keys import ProjectKeys
from bridge.auth.verifier import Verifier
from bridge.clock import SystemClock
from bridge.errors import Code, Refused

if TYPE_CHECKING:
    from bridge.auth.claims import Claims
    from bridge.auth.rules import Rules
    from bridge.auth.settings import AuthMode, AuthSettings
    from bridge.clock import Clock
    from bridge.rights import Rights


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody may come in. `claims` are those of the token, None for who has none."""

    rights: Rights
    claims: Claims | None = None


class Access:
    """The door. `run` and `close` are those of its keys."""

    def __init__(
        self, mode: AuthMode, verifier: Verifier, rules: Rules, keys: ProjectKeys | None = None
    ) -> None:
        self.mode = mode
        self.terms = verifier.terms
        self._verifier = verifier
        self._rules = rules
        self._keys = keys

    @classmethod
    def of(cls, settings: AuthSettings, url: str, clock: Clock | None = None) -> Access:
        """As the settings say, for users of the project at `url`. Nothing is fetched yet."""
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
            clock or SystemClock(),
            secret=None if secret is None else secret.get_secret_value(),
        )
        return cls(settings.auth, verifier, settings.rules, keys)

    async def admit(self, token: str | None) -> Admission:
        """Raises `Refused`: `token_required`, `token_invalid`, `token_expired`, or `not_ready`
        where the project's keys are needed and can't be had.
        """
        if self.mode == "off":
            token = None
        elif token is None and self.mode == "required":
            raise Refused(
                Code.TOKEN_REQUIRED, "expected the token of a signed-in user as auth.token"
            )
        claims = None if token is None else await self._verifier.verify(token)
        return Admission(self._rules.rights(claims), claims)

    async def run(self) -> None:
        """Keep the keys fresh, for ever."""
        if self._keys is not None:
            await self._keys.run()

    async def close(self) -> None:
        if self._keys is not None:
            await self._keys.close()
