-- The published fields of some accounts, in the order of the logins given, and their money's digits.
SELECT {columns}, v.digits
FROM unnest(%(logins)s::bigint[]) WITH ORDINALITY AS page (login, place)
CROSS JOIN LATERAL (SELECT * FROM ({accounts}) AS one WHERE one.login = page.login LIMIT 1) AS v
ORDER BY page.place
