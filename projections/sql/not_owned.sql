-- What of a schema does not belong to a role, the schema itself first, as ALTER ... OWNER takes it.
WITH here AS (SELECT oid, nspowner FROM pg_namespace WHERE nspname = %(schema)s), things AS (
    SELECT 1 AS place, 'SCHEMA' AS kind, 'pg_namespace'::regclass AS class, oid, nspowner AS owner FROM here
    UNION ALL
    SELECT 2, CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
        ELSE 'TABLE' END, 'pg_class'::regclass, c.oid, c.relowner
    FROM pg_class c JOIN here ON c.relnamespace = here.oid WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 2, 'ROUTINE', 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc p JOIN here ON p.pronamespace = here.oid
    UNION ALL
    SELECT 2, 'TYPE', 'pg_type'::regclass, t.oid, t.typowner
    FROM pg_type t JOIN here ON t.typnamespace = here.oid JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
)
SELECT kind, named.identity, pg_get_userbyid(owner) FROM things, pg_identify_object(class, oid, 0) AS named
WHERE pg_get_userbyid(owner) <> %(owner)s ORDER BY place, named.identity
