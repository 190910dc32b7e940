-- Let exactly these logins be online, of those within reach.
WITH told AS (
    SELECT DISTINCT unnest(%(logins)s::bigint[]) AS login
),
gone AS (
    DELETE FROM online o
    WHERE o.login NOT IN (SELECT login FROM told)
        AND (%(reach_logins)s::bigint[] IS NULL OR o.login = ANY(%(reach_logins)s::bigint[]))
        AND (%(reach_groups)s::text[] IS NULL OR EXISTS (
            SELECT 1 FROM accounts a WHERE a.login = o.login AND a.group_name = ANY(%(reach_groups)s::text[])
        ))
)
INSERT INTO online (login) SELECT login FROM told ON CONFLICT (login) DO NOTHING
