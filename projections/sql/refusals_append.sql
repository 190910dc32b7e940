-- Keep a batch of refused attempts, unless it has been kept since the last known number. Two processes
-- that count on from the same number collide on the primary key, and one of them counts anew.
INSERT INTO refusals (
    number, batch, refused_at, key_id, operator_id, request_id, method, route, status, code, detail,
    field, login
)
SELECT
    last.number + given.n, %(batch)s, refused_at, key_id, operator_id, request_id, method, route, status,
    code, detail, field, login
FROM
    (SELECT coalesce(max(number), 0) AS number FROM refusals) AS last,
    unnest(
        %(refused_at)s::timestamptz[], %(key_id)s::text[], %(operator_id)s::text[],
        %(request_id)s::text[], %(method)s::text[], %(route)s::text[], %(status)s::smallint[],
        %(code)s::text[], %(detail)s::text[], %(field)s::text[], %(login)s::bigint[]
    ) WITH ORDINALITY AS given (
        refused_at, key_id, operator_id, request_id, method, route, status, code, detail, field, login, n
    )
WHERE NOT EXISTS (SELECT FROM refusals AS kept WHERE kept.number > %(known)s AND kept.batch = %(batch)s)
ORDER BY given.n
