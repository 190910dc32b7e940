-- The logins of one page where groups and flags decide, by login: each group's own run of the index
-- accounts_group, no further than the page can reach, then the runs together.
SELECT found.login
FROM unnest(%(groups)s::text[]) AS g (group_name)
CROSS JOIN unnest(%(flags)s::int[]) AS e (enable)
CROSS JOIN LATERAL (
    SELECT v.login FROM accounts v
    WHERE v.group_name = g.group_name AND v.enable = (e.enable = 1)
    ORDER BY v.login {direction}
    LIMIT %(reach)s
) AS found
ORDER BY found.login {direction}
LIMIT %(limit)s OFFSET %(offset)s
