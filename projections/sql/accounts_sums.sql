-- What the matched accounts add up to: one scan over the tables that the filter names. Groups with the same
-- place count as one.
SELECT asked.place, sum(v.accounts), sum(v.balance), sum(v.credit), sum(v.prevbalance), sum(v.prevmonthbalance),
    sum(v.profit), sum(v.storage), sum(v.commission), sum(v.margin), sum(v.orders), sum(v.unvalued),
    sum(v.old_quotes)
FROM (
    SELECT v."group", count(*) AS accounts, sum(v.balance) AS balance, sum(v.credit) AS credit,
        sum(v.prevbalance) AS prevbalance, sum(v.prevmonthbalance) AS prevmonthbalance,
        sum(v.profit) AS profit, sum(v.storage) AS storage, sum(v.commission) AS commission,
        sum(v.margin) AS margin, sum(v.orders) AS orders, sum(v.unvalued) AS unvalued,
        count(*) FILTER (WHERE v.quoted_at < %(oldest)s) AS old_quotes
    FROM ({accounts}) AS v
    WHERE {where}
    GROUP BY v."group"
) AS v
JOIN unnest(%(groups)s::text[], %(places)s::int[]) AS asked (group_name, place) ON asked.group_name = v."group"
GROUP BY asked.place
