-- What a server day began with (kind null) and what each kind then moved, group by group.
SELECT group_name, CASE WHEN server_day = %(day)s THEN kind END AS moved, sum(operations)::bigint,
    sum(balance_change), sum(credit_change)
FROM (TABLE daily UNION ALL TABLE daily_added) AS kept
WHERE server_day <= %(day)s AND group_name = ANY(%(groups)s)
GROUP BY group_name, moved
ORDER BY group_name, moved NULLS FIRST
