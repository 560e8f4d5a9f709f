from __future__ import annotations

import json

from rendermill.commands.exit_codes import ExitCode
from rendermill.coordinator.identity.roles import Role
from rendermill.protocol.codec import from_plain
from rendermill.protocol.views import AuditPage, TokenPage


async def test_tokens_are_listed_and_revoked(coordinator, rendermill):
    token = await coordinator.tokens.issue("old laptop", Role.SUBMIT)
    member = coordinator.tokens.check(token)
    ran = await rendermill("tokens")
    assert ran.code == ExitCode.DONE
    assert "old laptop" in ran.out
    assert token not in ran.out
    assert (await rendermill("tokens", "revoke")).code == ExitCode.USAGE
    ran = await rendermill("tokens", "revoke", member.id)
    assert ran.code == ExitCode.DONE
    assert member.id in ran.out
    assert coordinator.tokens.check(token) is None
    page = from_plain(json.loads((await rendermill("tokens", "--json")).out), TokenPage)
    assert [one.is_own for one in page.tokens] == [True]
    audit = await rendermill("audit")
    assert "revoke" in audit.out
    assert member.id in audit.out
    page = from_plain(json.loads((await rendermill("audit", "--json")).out), AuditPage)
    assert page.entries[0].action == "revoke"
