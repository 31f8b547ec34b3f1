"""What the database itself says about its tables: so that a new table is held to the rules by existing."""

from typing import Any

# The tables that one account owns: those with an `account_id`, and the account itself.
OWNED = """
SELECT table_.oid::regclass::text AS name, column_.attname AS key,
       table_.relrowsecurity AS enabled, table_.relforcerowsecurity AS forced
FROM pg_class AS table_ JOIN pg_attribute AS column_ ON column_.attrelid = table_.oid AND NOT column_.attisdropped
WHERE table_.relkind IN ('r', 'p') AND table_.relnamespace = 'public'::regnamespace
  AND column_.attname = CASE WHEN table_.relname = 'account' THEN 'id' ELSE 'account_id' END
ORDER BY 1
"""

POLICIES = """
SELECT polcmd::text AS command, pg_get_expr(polqual, polrelid) AS sees, pg_get_expr(polwithcheck, polrelid) AS writes,
       polpermissive AS permissive
FROM pg_policy
WHERE polrelid = $1::text::regclass
  AND ('0'::oid = ANY(polroles)
       OR EXISTS (SELECT FROM unnest(polroles) AS role WHERE pg_has_role('tutti_app', role, 'MEMBER')))
"""

# Foreign keys between two tables of accounts, other than the ones to the account itself.
LINKS = """
SELECT conname AS name, conrelid::regclass::text AS "from", confrelid::regclass::text AS "to",
       ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS key (number, place)
             JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place) AS columns
FROM pg_constraint
WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND confrelid <> 'account'::regclass
  AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = conrelid AND attname = 'account_id')
  AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attname = 'account_id')
ORDER BY 1
"""

UNIQUE = """
SELECT indexrelid::regclass::text AS name, indisprimary AS is_primary,
       ARRAY(SELECT attname::text FROM unnest(indkey::int2[]) AS number
             JOIN pg_attribute ON attrelid = indrelid AND attnum = number) AS columns
FROM pg_index
WHERE indisunique AND indrelid = $1::text::regclass
"""


async def owned_tables(connection: Any) -> list[str]:
    """Name the tables whose every row belongs to one account."""
    return [row["name"] for row in await connection.fetch(OWNED)]


async def tenant_column(connection: Any, table: str) -> str:
    """Name the column that says which account a table's row belongs to."""
    keys: dict[str, str] = {row["name"]: row["key"] for row in await connection.fetch(OWNED)}
    return keys[table]


async def unprotected(connection: Any) -> dict[str, list[str]]:
    """Say what row-level security lacks, by table; nothing when accounts are kept apart."""
    found: dict[str, list[str]] = {}
    for table in await connection.fetch(OWNED):
        policies = await connection.fetch(POLICIES, table["name"])
        wanted = f"({table['key']} = ( SELECT current_account() AS current_account))"
        lacks = [word for word in ("enabled", "forced") if not table[word]]
        if not any(one["command"] == "*" and one["sees"] == wanted for one in policies):
            lacks.append("a policy for the account's own rows")
        if any(one["permissive"] and wanted != one["sees"] for one in policies):
            lacks.append("no other policy for the application's role")
        if any(one["writes"] not in (None, wanted) for one in policies):
            lacks.append("the same rule for writing")
        if lacks:
            found[table["name"]] = lacks
    return found
