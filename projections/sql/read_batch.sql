-- Read, in one statement, what the decisions of a batch look at: 0 the head of the log and the position
-- of the definitions, which table accounts is (a rebuild moves another in); 1 accounts; 2 the first operations of request ids.
SELECT 0::smallint AS tag,
    (SELECT max(notification_id) FROM ledger_events) AS a,
    greatest((SELECT max("position") FROM groups), (SELECT max("position") FROM server)) AS b,
    to_regclass('accounts')::oid::bigint AS c, NULL::bigint AS d, NULL::bigint AS e, NULL::bigint AS f, NULL::bigint AS g, NULL::bigint AS h,
    NULL::bigint AS i, NULL::bigint AS j,
    NULL::text AS t, NULL::text AS u, NULL::text AS v,
    (SELECT state FROM ledger_events ORDER BY notification_id DESC LIMIT 1) AS s
UNION ALL
SELECT 1::smallint, login, version, balance, credit, balance_before_day, balance_before_month,
    balance_day - date '2000-01-01', balance_month - date '2000-01-01', digits, enable::int,
    group_name, currency, grants, NULL
FROM accounts WHERE login = ANY(%(logins)s)
UNION ALL
SELECT 2::smallint, r."position", e.notification_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    r.request_id, NULL, NULL, e.state
FROM requests r
JOIN ledger_events e ON e.notification_id >= r."position" AND e.notification_id < r."position" + r.size
WHERE r.request_id = ANY(%(request_ids)s)
