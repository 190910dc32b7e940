-- The logins of a production set-up, by psql as a superuser, in the ledger's database; as often as you like.
-- MIGRATOR_PASSWORD and APP_PASSWORD in the environment are their passwords. docs/operations.md says the reasons.
-- The roles of the ledger main are made here too, so that nobody needs CREATEROLE.
\getenv migrator_password MIGRATOR_PASSWORD
\getenv app_password APP_PASSWORD

SELECT format('CREATE ROLE %I %s', role, kind)
FROM (VALUES
    ('fundledger_owner', 'NOLOGIN'),
    ('ledger_main_writer', 'NOLOGIN'),
    ('ledger_main_reader', 'NOLOGIN'),
    ('ledger_main_reader_personal', 'NOLOGIN'),
    ('fundledger_migrator', 'LOGIN'),
    ('fundledger_app', 'LOGIN')
) AS wanted (role, kind)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

ALTER ROLE fundledger_migrator PASSWORD :'migrator_password';
ALTER ROLE fundledger_app PASSWORD :'app_password';
GRANT fundledger_owner TO fundledger_migrator;
GRANT ledger_main_writer TO fundledger_app;

SELECT format(statement, current_database())
FROM (VALUES
    ('REVOKE ALL ON DATABASE %I FROM PUBLIC'),
    ('GRANT CONNECT ON DATABASE %I TO fundledger_migrator, fundledger_app'),
    ('GRANT CREATE ON DATABASE %I TO fundledger_owner')
) AS said (statement)
\gexec
