"""Claims of any shape grant only the rights of the policy."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.auth.claims import Claims
from bridge.auth.policy import MAX_REGIONS, REGION_CHARACTERS, AccessPolicy, path, regions_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
NAMES = st.sampled_from(["TX", "TX/Austin", "TX/Austin/Zilker", "CA", "CA/San Diego", "T", "NV"])
REGIONS = st.lists(NAMES, max_size=6)
PLACES = ["TX", "TX/Austin", "TX/Austin/Zilker", "TX/Dallas", "CA", "CA/San Diego", "T", "NV", "N"]


def bearer(**values: Any) -> Claims:
    return Claims("ada", 0, 1, values=values)


def rules(**options: Any) -> AccessPolicy:
    return AccessPolicy(
        regions_claim=path("app_metadata.regions"),
        role_claims=(path("role"), path("app_metadata.roles")),
        all_regions_roles=frozenset({"admin"}),
        member_roles=frozenset({"agent"}),
        **options,
    )


@given(REGIONS)
def test_granted_regions_are_those_listed_and_those_inside(named: list[str]) -> None:
    opened = rules().rights_for(bearer(app_metadata={"regions": named}))
    for place in PLACES:
        inside = any(place == name or place.startswith(f"{name}/") for name in named)
        assert opened.can_read_region(place) == inside


@given(REGIONS)
def test_regions_are_granted_once(named: list[str]) -> None:
    opened = regions_in(named)
    assert opened is not None
    for region in opened:
        assert not any(region.startswith(f"{other}/") for other in opened)
    assert len(set(opened)) == len(opened)


@given(JSON)
def test_star_grants_all_regions(claim: Any) -> None:
    opened = rules(anonymous=()).rights_for(bearer(app_metadata={"regions": claim})).regions
    star = claim == "*" or (isinstance(claim, list) and "*" in claim)
    assert star or opened is not None
    if opened:
        assert len(opened) <= MAX_REGIONS
        assert all(0 < len(region) <= REGION_CHARACTERS for region in opened)


@given(st.dictionaries(st.sampled_from(["role", "app_metadata", "user_metadata", "x"]), JSON))
def test_any_claims_give_rights_without_an_error(values: dict[str, Any]) -> None:
    rights = rules(anonymous=("NV",)).rights_for(bearer(**values))
    assert rights.user == "ada"
    roles = str([values.get("role"), values.get("app_metadata")])
    if "'agent'" not in roles:
        assert rights.view == "public"
    if "'admin'" not in roles and "'*'" not in roles:
        assert rights.regions is not None


@given(JSON, REGIONS)
def test_user_metadata_does_not_change_rights(written: Any, named: list[str]) -> None:
    claims = {"app_metadata": {"regions": named}, "role": "authenticated"}
    assert rules().rights_for(bearer(**claims, user_metadata=written)) == rules().rights_for(
        bearer(**claims)
    )
