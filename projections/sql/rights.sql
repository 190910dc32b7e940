-- What roles may do in a schema, however they came by it; columns only where they have rights of their own.
WITH here AS (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s),
roles AS (SELECT oid, rolname FROM pg_roles WHERE rolname = ANY(%(roles)s)),
tables AS (
    SELECT c.oid, c.relname FROM pg_class c JOIN here ON c.relnamespace = here.oid
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
)
SELECT rolname, privilege, %(schema)s FROM roles, here, unnest(ARRAY['USAGE', 'CREATE']) AS privilege
WHERE has_schema_privilege(roles.oid, here.oid, privilege)
UNION ALL
SELECT rolname, privilege, relname FROM roles, tables,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
WHERE has_table_privilege(roles.oid, tables.oid, privilege)
UNION ALL
SELECT rolname, privilege, format('%%s (%%s)', relname, attname) FROM roles, tables
    JOIN pg_attribute a ON a.attrelid = tables.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege
WHERE has_column_privilege(roles.oid, tables.oid, a.attnum, privilege)
    AND NOT has_table_privilege(roles.oid, tables.oid, privilege)
UNION ALL
SELECT rolname, 'EXECUTE', proname FROM roles, here JOIN pg_proc p ON p.pronamespace = here.oid
WHERE has_function_privilege(roles.oid, p.oid, 'EXECUTE')
