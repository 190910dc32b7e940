-- Read, in one statement, all that the decisions of a batch look at. Rows are tagged:
-- 0 head of the log, definitions' position, highest login; 1 accounts; 2 first operations of request
-- ids; 3 of references; 4 operations asked for; 5 reversals of those; 6 usage of limited keys; 7 keys.
SELECT 0::smallint AS tag,
    (SELECT max(notification_id) FROM ledger_events) AS a,
    greatest((SELECT max("position") FROM groups), (SELECT max("position") FROM server)) AS b,
    CASE WHEN %(login_max)s THEN (SELECT max(login) FROM accounts) END AS c,
    NULL::bigint AS d, NULL::bigint AS e, NULL::bigint AS f, NULL::bigint AS g, NULL::bigint AS h,
    NULL::bigint AS i, NULL::bigint AS j,
    NULL::text AS t, NULL::text AS u, NULL::text AS v,
    (SELECT state FROM ledger_events ORDER BY notification_id DESC LIMIT 1) AS s
UNION ALL
SELECT 1::smallint, login, version, balance, credit, balance_before_day, balance_before_month,
    balance_day - date '2000-01-01', balance_month - date '2000-01-01', digits, enable::int,
    group_name, currency, grants, NULL
FROM accounts WHERE login = ANY(%(logins)s)
UNION ALL
SELECT 1::smallint, login, version, balance, credit, balance_before_day, balance_before_month,
    balance_day - date '2000-01-01', balance_month - date '2000-01-01', digits, enable::int,
    group_name, currency, grants, NULL
FROM accounts WHERE login IN (
    SELECT o.login FROM unnest(%(operations)s::bigint[]) AS asked (operation)
    JOIN history o
        ON o."position" >= asked.operation AND o."position" <= asked.operation + 1
        AND o.operation = asked.operation
)
UNION ALL
SELECT 2::smallint, r."position", e.notification_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    r.request_id, NULL, NULL, e.state
FROM requests r
JOIN ledger_events e ON e.notification_id >= r."position" AND e.notification_id < r."position" + r.size
WHERE r.request_id = ANY(%(request_ids)s)
UNION ALL
SELECT 3::smallint, o."position", e.notification_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    o.kind, o.method, o.reference, e.state
FROM unnest(%(kinds)s::text[], %(methods)s::text[], %(references)s::text[]) AS asked (kind, method, reference)
JOIN history o
    ON o.reference = asked.reference AND o.kind = asked.kind AND o.method = asked.method
    AND o.reversed_by IS NULL AND o."position" = o.operation AND o.method IS NOT NULL
    AND o.reference IS NOT NULL
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
FROM key_usage WHERE key_id = ANY(%(limited)s)
UNION ALL
SELECT 7::smallint, version, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, key_id, NULL, NULL, NULL
FROM keys WHERE key_id = ANY(%(keys)s)
