"""Time passes quickly for what is over, so that it leaves by the service's own sweeps within a soak.

Accounts keep things for days, and processes look for what has had its time every hour. Here what is over for `KEPT_SECONDS` is
made older than that, and `python -m tests.soak.ageing`, a process of its own, sweeps as the service does, only more often.
"""

import asyncio

import asyncpg

from auth import sweeping
from service.cli.database import ready_database, server
from service.engine import event_triggers, inbox, trigger_keys
from service.operations import webhook_sending

EVERY = 5.0  # seconds
KEPT_SECONDS = 30
DAYS = {"instance": 1, "event": 30}  # that accounts keep them: as few as they may
OVER = f"BETWEEN now() - interval '1 day' AND now() - interval '{KEPT_SECONDS} seconds'"
# The tokens of those who ask and what stands for a password stay: processes remember for how long these are good.
GRANTS = f"""
SELECT id FROM oauth_grant WHERE kind NOT IN ('operator', 'basic') AND created_at {OVER}
"""
AGE = (
    f"""WITH old AS (
        UPDATE instance SET started_at = started_at - interval '3 days', ended_at = ended_at - interval '3 days'
        WHERE ended_at {OVER} RETURNING account_id, id, started_at)
    UPDATE instance_term SET started_at = old.started_at FROM old
    WHERE instance_term.account_id = old.account_id AND instance_id = old.id
      AND instance_term.started_at = old.started_at + interval '3 days'""",
    f"""UPDATE bulk_action SET created_at = created_at - interval '3 days', ended_at = ended_at - interval '3 days'
        WHERE ended_at {OVER}""",
    f"UPDATE event SET at = at - interval '60 days' WHERE at {OVER}",
    "UPDATE account_settings SET sweep_at = now()",
    f"UPDATE webhook_delivery SET created_at = created_at - interval '60 days' WHERE ended_at {OVER} AND created_at {OVER}",
    f"UPDATE trigger_occurrence SET at = at - interval '60 days' WHERE at {OVER}",
    f"UPDATE signal SET received_at = received_at - interval '60 days' WHERE received_at {OVER}",
    f"UPDATE trigger_key SET expires_at = expires_at - interval '60 days' WHERE made_at {OVER} AND expires_at > now()",
    f"""WITH grants AS MATERIALIZED ({GRANTS}),
    codes AS (UPDATE authorization_code SET expires_at = expires_at - interval '90 days'
              WHERE grant_id IN (SELECT id FROM grants)),
    tokens AS (UPDATE access_token SET expires_at = expires_at - interval '90 days'
               WHERE grant_id IN (SELECT id FROM grants)),
    refreshed AS (UPDATE refresh_token SET expires_at = expires_at - interval '90 days'
                  WHERE grant_id IN (SELECT id FROM grants))
    UPDATE oauth_grant SET created_at = created_at - interval '90 days' WHERE id IN (SELECT id FROM grants)""",
    f"UPDATE login_session SET expires_at = now() WHERE auth_time {OVER} AND expires_at > now()",
    f"UPDATE authorization_request SET expires_at = now() WHERE created_at {OVER} AND expires_at > now()",
    f"UPDATE known_device SET seen_at = seen_at - interval '2 years' WHERE seen_at {OVER}",
)


async def aged(rows: asyncpg.Connection) -> None:
    """Let time pass quickly for what is over, until cancelled; the connection is one that sees all accounts."""
    while True:
        for statement in AGE:
            await rows.execute(statement)
        await asyncio.sleep(EVERY)


async def swept() -> None:
    """Sweep for ever as the service does every hour, with its own functions and its own rights."""
    async with ready_database(2):
        while True:
            for sweep in (
                inbox.sweep,
                trigger_keys.sweep,
                event_triggers.sweep,
                webhook_sending.sweep,
                sweeping.sweep,
            ):
                await sweep()
            await asyncio.sleep(EVERY)


if __name__ == "__main__":
    with server():
        asyncio.run(swept())
