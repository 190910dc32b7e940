-- How many lots the accounts of each group have open, both sides together.
SELECT a.group_name, sum(p.lots)
FROM positions p
JOIN accounts a ON a.login = p.login
WHERE a.group_name = ANY(%(groups)s) AND (%(logins)s::bigint[] IS NULL OR a.login = ANY(%(logins)s::bigint[]))
GROUP BY a.group_name
