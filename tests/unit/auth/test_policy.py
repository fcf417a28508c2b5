from __future__ import annotations

import logging
from typing import Any

import pytest

from bridge.auth.claims import Claims
from bridge.auth.policy import MAX_REGIONS, AccessPolicy, path, regions_in
from bridge.rights import UNRESTRICTED, Rights

CLAIM = path("app_metadata.regions")


def claims(**values: Any) -> Claims:
    return Claims("ada", 0, 1, values=values)


def regions(value: Any, **options: Any) -> tuple[str, ...] | None:
    rules = AccessPolicy(regions_claim=CLAIM, **options)
    return rules.rights_for(claims(app_metadata={"regions": value})).regions


def test_policy_without_settings_grants_all_regions() -> None:
    assert AccessPolicy().rights_for(None) == UNRESTRICTED
    assert AccessPolicy().rights_for(claims()) == Rights(None, "public", "ada")


def test_client_without_a_token_receives_the_anonymous_regions() -> None:
    assert AccessPolicy(anonymous=("TX",)).rights_for(None) == Rights(("TX",))


def test_token_grants_all_regions_without_a_claim_setting() -> None:
    assert AccessPolicy(anonymous=("TX",)).rights_for(claims()).regions is None


@pytest.mark.parametrize(
    ("value", "opened"),
    [
        (["TX", "CA/San Diego"], ("TX", "CA/San Diego")),
        ("TX", ("TX",)),
        ([], ()),
        (["*"], None),
        ("*", None),
        (["TX", "*"], None),
        (["TX", "TX"], ("TX",)),
        (["TX/Austin", "TX", "TX/Austin/Hyde Park"], ("TX",)),
        (["TX", "TXA"], ("TX", "TXA")),
    ],
)
def test_regions_claim_grants_its_regions_only(value: Any, opened: Any) -> None:
    assert regions(value, anonymous=None) == opened
    assert regions(value, anonymous=("NV",)) == opened


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        True,
        {"TX": True},
        "",
        [""],
        [7],
        ["TX", None],
        [["TX"]],
        ["x" * 201],
        [f"R{number}" for number in range(MAX_REGIONS + 1)],
    ],
)
def test_claim_of_another_shape_grants_nothing(value: Any) -> None:
    assert regions(value, anonymous=None) == ()


def test_wrong_claim_is_logged_once_without_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules = AccessPolicy(regions_claim=CLAIM)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            rules.rights_for(claims(app_metadata={"regions": {"hidden": 1}}))
    [record] = caplog.records
    assert "app_metadata.regions" in record.getMessage()
    assert "hidden" not in record.getMessage()


@pytest.mark.parametrize("values", [{}, {"app_metadata": None}, {"app_metadata": {}}])
def test_token_without_the_claim_grants_the_anonymous_regions(values: Any) -> None:
    rules = AccessPolicy(regions_claim=CLAIM, anonymous=("TX",))
    assert rules.rights_for(claims(**values)).regions == ("TX",)


def test_required_token_without_the_claim_grants_nothing() -> None:
    rules = AccessPolicy(regions_claim=CLAIM, anonymous=None, required=True)
    assert rules.rights_for(claims()).regions == ()


def test_all_regions_role_receives_all_regions() -> None:
    rules = AccessPolicy(
        regions_claim=CLAIM,
        role_claims=(path("app_metadata.roles"),),
        all_regions_roles=frozenset({"admin"}),
    )
    of_admin = {"app_metadata": {"roles": ["agent", "admin"], "regions": ["TX"]}}
    assert rules.rights_for(claims(**of_admin)).regions is None
    of_agent = {"app_metadata": {"roles": ["agent"], "regions": ["TX"]}}
    assert rules.rights_for(claims(**of_agent)).regions == ("TX",)


@pytest.mark.parametrize(
    ("values", "view"),
    [
        ({"role": "agent"}, "member"),
        ({"app_metadata": {"role": "agent"}}, "member"),
        ({"app_metadata": {"roles": ["buyer", "agent"]}}, "member"),
        ({"role": "Agent"}, "public"),
        ({"role": "agents"}, "public"),
        ({"role": ["buyer"], "user_metadata": {"role": "agent"}}, "public"),
        ({"role": {"agent": True}}, "public"),
        ({"role": [["agent"]]}, "public"),
        ({}, "public"),
    ],
)
def test_member_role_has_the_member_view(values: Any, view: str) -> None:
    rules = AccessPolicy(
        role_claims=tuple(map(path, ("role", "app_metadata.role", "app_metadata.roles"))),
        member_roles=frozenset({"agent"}),
    )
    assert rules.rights_for(claims(**values)).view == view


def test_client_without_a_token_has_the_public_view() -> None:
    rules = AccessPolicy(role_claims=(path("role"),), member_roles=frozenset({"anon", ""}))
    assert rules.rights_for(None).view == "public"


@pytest.mark.parametrize("text", ["user_metadata", "user_metadata.regions"])
def test_user_metadata_is_rejected_as_a_claim(text: str) -> None:
    with pytest.raises(ValueError, match="users can write their user_metadata themselves"):
        path(text)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b"])
def test_claim_path_has_names_between_its_dots(text: str) -> None:
    with pytest.raises(ValueError, match="with dots between them"):
        path(text)


def test_list_of_regions_may_be_empty() -> None:
    assert regions_in(()) == ()
