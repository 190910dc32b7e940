-- What only some commands look at, beside read_batch: 3 the first operations of references; 4 operations;
-- 5 their reversals; 6 usage of limited keys on the last server day, before which nothing is booked any more;
-- 7 keys; 8 the highest login; 10 symbols.
SELECT 3::smallint, o."position", e.notification_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    o.kind, o.method, o.reference, e.state
FROM unnest(%(kinds)s::text[], %(methods)s::text[], %(references)s::text[]) AS asked (kind, method, reference)
CROSS JOIN LATERAL (
    -- OFFSET 0 keeps the look-ups apart: planned for an empty table, a join walks the whole index.
    SELECT h."position", h.kind, h.method, h.reference FROM history h
    WHERE h.reference = asked.reference AND h.kind = asked.kind AND h.method = asked.method
        AND h.reversed_by IS NULL AND h."position" = h.operation AND h.method IS NOT NULL
        AND h.reference IS NOT NULL
    OFFSET 0
) AS o
JOIN ledger_events e ON e.notification_id >= o."position" AND e.notification_id <= o."position" + 1
UNION ALL
SELECT 4::smallint, asked.operation, e.notification_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, e.state
FROM unnest(%(operations)s::bigint[]) AS asked (operation)
JOIN ledger_events e ON e.notification_id >= asked.operation AND e.notification_id <= asked.operation + 1
UNION ALL
SELECT 5::smallint, o."position", e.notification_id, o.reversed_by, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, e.state
FROM history o
JOIN ledger_events e ON e.notification_id >= o.reversed_by AND e.notification_id <= o.reversed_by + 1
WHERE o."position" = ANY(%(operations)s) AND o.reversed_by IS NOT NULL
UNION ALL
SELECT 6::smallint, used, server_day - date '2000-01-01', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    key_id, currency, NULL, NULL
FROM key_usage WHERE key_id = ANY(%(limited)s) AND server_day = (SELECT max(server_day) FROM days)
UNION ALL
SELECT 7::smallint, version, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, key_id, NULL, NULL, NULL
FROM keys WHERE key_id = ANY(%(keys)s)
UNION ALL
SELECT 8::smallint, (SELECT max(login) FROM accounts), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL
UNION ALL
SELECT 10::smallint, version, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, symbol, NULL, NULL, NULL
FROM symbols WHERE symbol = ANY(%(symbols)s)
