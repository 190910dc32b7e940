-- What accounts of a kind that are enabled add up to, by group, as one sequential scan finds it.
SELECT a.group_name, count(*), sum(a.balance), sum(a.credit),
    sum(CASE WHEN a.balance_day = %(trading_day)s THEN a.balance_before_day ELSE a.balance END),
    sum(CASE WHEN a.balance_month = date_trunc('month', %(server_day)s)::date
        THEN a.balance_before_month ELSE a.balance END),
    coalesce(sum(f.profit), 0), coalesce(sum(f.storage), 0), coalesce(sum(f.commission), 0),
    coalesce(sum(f.margin), 0)
FROM accounts a
LEFT JOIN figures f ON f.login = a.login
WHERE a.group_name LIKE 'std-%%' AND a.enable
GROUP BY a.group_name
ORDER BY a.group_name
