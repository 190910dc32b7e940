-- The refused attempts after a number, each with the present group of the account that it named.
SELECT
    r.number, r.refused_at, r.key_id, r.operator_id, r.request_id, r.method, r.route, r.status, r.code,
    r.detail, r.field, r.login, a.group_name
FROM refusals r
LEFT JOIN accounts a ON a.login = r.login
WHERE r.number > %(after)s
ORDER BY r.number
LIMIT %(limit)s
