"""What instances were started with, word by word: so that one among millions is found by a tag or a trigger input."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from tenancy.schema import run_sql

ID = "2026-11-23T05:03:00:000000"
VERSION = "1.38.0"
DESCRIPTION = (
    "instance_term: the tags and trigger inputs of instances, as numbers in the order of their starts"
)

FORWARDS = """
-- A tag or an input as a number of 64 bits, which clash once in some 10^19. It does not depend on how an input that is a
-- number is written.
CREATE FUNCTION tag_term(tag text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN hashtextextended('tag:' || tag, 0);
CREATE FUNCTION input_term(name text, value jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN hashtextextended('input:' || length(name) || ':' || name || ':'
        || CASE jsonb_typeof(value) WHEN 'number' THEN trim_scale(value::numeric)::text ELSE value::text END, 0);

-- The terms of an instance: its tags, and its inputs that are texts of up to 4,096 bytes, numbers or booleans, of which
-- the first 100 count, those with short names before others. Events that start an instance are a list: it has none of those.
CREATE FUNCTION terms_of(tags text[], inputs jsonb) RETURNS SETOF bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT tag_term(tag) FROM unnest(tags) AS tag
    UNION
    SELECT input_term(key, value) FROM (
        SELECT key, value FROM jsonb_each(CASE jsonb_typeof(inputs) WHEN 'object' THEN inputs ELSE '{}' END)
        WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND octet_length(value::text) <= 4096 LIMIT 100
    ) AS input
$$;

-- PostgreSQL reads no index of arrays or JSON under row-level security, as their operators might tell of foreign rows; it
-- does of numbers. No other key than this, and none to the instance, which would want an index of its own.
CREATE TABLE instance_term (
    account_id uuid NOT NULL, term bigint NOT NULL, started_at timestamptz NOT NULL, instance_id uuid NOT NULL,
    PRIMARY KEY (account_id, term, started_at, instance_id)
);
-- The same terms, in statements of its own: a trigger pays for them, and a function less is a third of that.
CREATE FUNCTION keep_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.trigger_inputs <> '{}' AND jsonb_typeof(NEW.trigger_inputs) = 'object' THEN
        INSERT INTO instance_term SELECT NEW.account_id, input_term(key, value), NEW.started_at, NEW.id
        FROM jsonb_each(NEW.trigger_inputs)
        WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND octet_length(value::text) <= 4096 LIMIT 100;
    END IF;
    IF NEW.tags <> '{}' THEN
        INSERT INTO instance_term SELECT DISTINCT NEW.account_id, tag_term(tag), NEW.started_at, NEW.id
        FROM unnest(NEW.tags) AS tag;
    END IF;
    RETURN NULL;
END
$$;
CREATE FUNCTION drop_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM instance_term WHERE account_id = OLD.account_id AND started_at = OLD.started_at
        AND instance_id = OLD.id AND term IN (SELECT terms_of(OLD.tags, OLD.trigger_inputs));
    RETURN NULL;
END
$$;
CREATE TRIGGER terms_kept AFTER INSERT ON instance FOR EACH ROW
    WHEN (NEW.tags <> '{}' OR NEW.trigger_inputs <> '{}') EXECUTE FUNCTION keep_terms();
CREATE TRIGGER terms_dropped AFTER DELETE ON instance FOR EACH ROW
    WHEN (OLD.tags <> '{}' OR OLD.trigger_inputs <> '{}') EXECUTE FUNCTION drop_terms();

-- Of the instances that there are, whosever they are; without a tenant their owner sees them only like this.
ALTER TABLE instance NO FORCE ROW LEVEL SECURITY;
INSERT INTO instance_term SELECT account_id, term, started_at, id
FROM instance, LATERAL terms_of(tags, trigger_inputs) AS term;
ALTER TABLE instance FORCE ROW LEVEL SECURITY;

ALTER TABLE instance_term ENABLE ROW LEVEL SECURITY;
ALTER TABLE instance_term FORCE ROW LEVEL SECURITY;
CREATE POLICY own_account ON instance_term USING (account_id = (SELECT current_account()));
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="service", description=DESCRIPTION)

    async def run():
        await run_sql(FORWARDS)

    manager.add_raw(run)
    return manager
